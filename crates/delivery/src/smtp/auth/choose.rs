//! Which mechanisms to try, the strongest first.

use super::{Channel, trouble};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    plan::{AuthMechanism, AuthPlan, Proof},
    smtp::ehlo::Offer,
};

/// Mechanisms for a password, the strongest first: bound to the session, then those that do not show the password, then those that do.
const FOR_A_PASSWORD: [AuthMechanism; 7] = [
    AuthMechanism::ScramSha256Plus,
    AuthMechanism::ScramSha1Plus,
    AuthMechanism::ScramSha256,
    AuthMechanism::ScramSha1,
    AuthMechanism::CramMd5,
    AuthMechanism::Plain,
    AuthMechanism::Login,
];

/// Mechanisms for a token; both show it, the standard goes first.
const FOR_A_TOKEN: [AuthMechanism; 2] = [AuthMechanism::OAuthBearer, AuthMechanism::XOAuth2];

impl AuthMechanism {
    /// The name on the wire; `AUTO` for the choice.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "AUTO",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::CramMd5 => "CRAM-MD5",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
        }
    }

    pub(super) fn is_bound(self) -> bool {
        matches!(self, Self::ScramSha256Plus | Self::ScramSha1Plus)
    }

    /// What somebody who listens learns, if anything.
    fn shows(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Login => Some("password"),
            Self::OAuthBearer | Self::XOAuth2 => Some("token"),
            _ => None,
        }
    }
}

/// The mechanisms to try on a session, in order; never none.
pub(super) fn candidates(auth: &AuthPlan, offer: &Offer, channel: &Channel) -> Result<Vec<AuthMechanism>, RelayTrouble> {
    let configuration = |what: String| trouble(TroubleKind::Configuration, what);
    let known: &[AuthMechanism] = match auth.proof {
        Proof::Password(_) => &FOR_A_PASSWORD,
        Proof::Tokens(_) => &FOR_A_TOKEN,
    };
    if auth.mechanism != AuthMechanism::Auto && !known.contains(&auth.mechanism) {
        let given = if matches!(auth.proof, Proof::Password(_)) { "a password" } else { "oauth2" };
        return Err(configuration(format!("{} cannot be used with {given}", auth.mechanism.name())).hint("set auth.mechanism to auto"));
    }
    if auth.mechanism.is_bound() && channel.binding.is_none() {
        return Err(configuration(format!("{} needs an encrypted session to be bound to", auth.mechanism.name()))
            .hint("set tls to starttls or implicit, or auth.mechanism to auto"));
    }
    if offer.auth.is_empty() {
        return Err(configuration("the relay offers no sign-in".to_owned())
            .hint("many relays offer it only after encryption (set tls), or on another port (587, 465); or remove auth"));
    }
    let wanted = |mechanism: &AuthMechanism| auth.mechanism == AuthMechanism::Auto || auth.mechanism == *mechanism;
    let possible = |mechanism: &AuthMechanism| !mechanism.is_bound() || channel.binding.is_some();
    let offered = |mechanism: &AuthMechanism| offer.auth.iter().any(|offered| offered == mechanism.name());
    let mut fitting: Vec<AuthMechanism> =
        known.iter().copied().filter(|mechanism| wanted(mechanism) && possible(mechanism) && offered(mechanism)).collect();
    let Some(strongest) = fitting.first().copied() else {
        let what = format!("the relay offers only {}, none of which is wanted here", offer.auth.join(", "));
        return Err(configuration(what).hint(advice(auth, offer)));
    };
    if !channel.encrypted && !auth.allow_cleartext {
        fitting.retain(|mechanism| mechanism.shows().is_none());
    }
    if fitting.is_empty() {
        let shown = strongest.shows().unwrap_or("password");
        let what = format!("{} would send the {shown} readable, the session is not encrypted", strongest.name());
        return Err(configuration(what).hint("set tls to starttls or implicit; or, if you accept the risk, auth.allow_cleartext = true"));
    }
    Ok(fitting)
}

fn advice(auth: &AuthPlan, offer: &Offer) -> String {
    let others = match auth.proof {
        Proof::Password(_) => &FOR_A_TOKEN[..],
        Proof::Tokens(_) => &FOR_A_PASSWORD[..],
    };
    let known = match auth.proof {
        Proof::Password(_) => &FOR_A_PASSWORD[..],
        Proof::Tokens(_) => &FOR_A_TOKEN[..],
    };
    let offers = |list: &[AuthMechanism]| list.iter().any(|mechanism| offer.auth.iter().any(|offered| offered == mechanism.name()));
    match auth.proof {
        _ if offers(known) => "set auth.mechanism to one that the relay offers, or to auto".to_owned(),
        Proof::Password(_) if offers(others) => "the relay takes access tokens and no passwords: set auth.oauth2".to_owned(),
        Proof::Tokens(_) if offers(others) => {
            "the relay takes passwords and no access tokens: set auth.password in place of auth.oauth2".to_owned()
        }
        _ => format!("known here are {}", known.iter().map(|mechanism| mechanism.name()).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::TlsMode, secret::Secret, smtp::auth::binding::Binding};
    use AuthMechanism::{Auto, CramMd5, Login, Plain, ScramSha1, ScramSha1Plus, ScramSha256, ScramSha256Plus, XOAuth2};

    fn offer(names: &str) -> Offer {
        Offer { auth: names.split_whitespace().map(str::to_owned).collect(), ..Offer::default() }
    }

    fn channel(encrypted: bool) -> Channel {
        let binding = encrypted.then(|| Binding { name: "tls-exporter", data: vec![1] });
        Channel { encrypted, binding }
    }

    fn auth(mechanism: AuthMechanism) -> AuthPlan {
        AuthPlan::new("u", Secret::new("p"), "h", 25, TlsMode::Auto).mechanism(mechanism)
    }

    const ALL: &str = "LOGIN PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS XOAUTH2 NTLM";

    #[test]
    fn auto_takes_the_strongest_first_and_shows_the_password_only_under_tls() {
        let all = offer(ALL);
        let every = [ScramSha256Plus, ScramSha1Plus, ScramSha256, ScramSha1, CramMd5, Plain, Login];
        assert_eq!(candidates(&auth(Auto), &all, &channel(true)).unwrap(), every);
        assert_eq!(candidates(&auth(Auto), &all, &channel(false)).unwrap(), [ScramSha256, ScramSha1, CramMd5]);
        let allowed = auth(Auto).allow_cleartext(true);
        assert_eq!(candidates(&allowed, &all, &channel(false)).unwrap(), [ScramSha256, ScramSha1, CramMd5, Plain, Login]);
        assert_eq!(candidates(&auth(Plain), &all, &channel(true)).unwrap(), [Plain]);
    }

    #[test]
    fn what_cannot_be_is_said_with_advice() {
        let said = |auth: AuthPlan, names: &str, encrypted| candidates(&auth, &offer(names), &channel(encrypted)).unwrap_err().sentence();
        assert!(said(auth(Auto), "", true).contains("offers no sign-in"));
        assert!(said(auth(Auto), "PLAIN", false).contains("allow_cleartext"));
        assert!(said(auth(Auto), "XOAUTH2", true).contains("set auth.oauth2"));
        assert!(said(auth(Auto), "NTLM GSSAPI", true).contains("known here are SCRAM-SHA-256-PLUS"));
        assert!(said(auth(CramMd5), "PLAIN", true).contains("set auth.mechanism to one that the relay offers"));
        assert!(said(auth(ScramSha256Plus), ALL, false).contains("needs an encrypted session"));
        assert!(said(auth(XOAuth2), ALL, true).contains("cannot be used with a password"));
    }
}

//! Sign-in (RFC 4954): the choice of a mechanism, the exchange, and what follows from its end. Each mechanism stands in a file of its own.

mod bearer;
mod binding;
mod choose;
mod cram_md5;
mod exchange;
mod mechanism;
mod plain;
mod scram;

use super::{
    classify::ReplyTable,
    dialogue::Speaker,
    ehlo::Offer,
    reply::{Enhanced, Reply},
    wire::Wire,
};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    oauth::{Token, TokenDesk},
    plan::{AuthMechanism, AuthPlan, Proof, SmtpPlan},
};
use binding::Binding;
use exchange::Failure;
use mechanism::Mechanism;
use scram::{Flag, Hash, Scram};
use std::{sync::Arc, time::Duration};
use tidings_core::{Clock, outbox::Stage};

/// What is known of the session that the sign-in travels in.
struct Channel {
    encrypted: bool,
    binding: Option<Binding>,
}

/// Signs sessions of one relay in; holds what lasts longer than one of them: stretched passwords and the access token.
pub(crate) struct SignIn {
    keys: Arc<scram::Keys>,
    tokens: Option<TokenDesk>,
}

/// What all attempts on one session share.
struct Attempt<'a> {
    offer: &'a Offer,
    plan: &'a SmtpPlan,
    auth: &'a AuthPlan,
    table: &'a ReplyTable,
    limit: Duration,
}

fn trouble(kind: TroubleKind, what: impl Into<String>) -> RelayTrouble {
    RelayTrouble::new(kind, Stage::Auth, what)
}

impl SignIn {
    /// For the relay of these credentials. `limit` is how long the token endpoint may take; `clock` dates signed token requests.
    pub(crate) fn for_plan(auth: Option<&AuthPlan>, limit: Duration, clock: Option<&Arc<dyn Clock>>) -> Self {
        let tokens = auth.and_then(|auth| match &auth.proof {
            Proof::Password(_) => None,
            Proof::Tokens(plan) => Some(TokenDesk::open(plan.as_ref().clone(), auth.user.clone(), limit, clock.cloned())),
        });
        Self { keys: Arc::default(), tokens }
    }

    /// Signs a session in. With an access token a refusal is answered by one more try with a fresh one, since a token may end before its time.
    pub(crate) async fn run(
        &self,
        wire: &mut Wire,
        offer: &Offer,
        plan: &SmtpPlan,
        auth: &AuthPlan,
        table: &ReplyTable,
        limit: Duration,
    ) -> Result<(), RelayTrouble> {
        if !auth.belongs_to(plan) {
            return Err(trouble(
                TroubleKind::Configuration,
                "the credentials were given for another host, port or TLS mode and are not sent here",
            ));
        }
        let attempt = Attempt { offer, plan, auth, table, limit };
        let Some(desk) = &self.tokens else {
            return self.by_any(wire, &attempt, None).await.map_err(Failure::into_trouble);
        };
        let token = token(desk, wire).await?;
        let Err(failure) = self.by_any(wire, &attempt, Some(&token)).await else {
            desk.accepted();
            return Ok(());
        };
        let refused = matches!(&failure, Failure::Refused(reply, _) if a_new_token_may_help(reply, table)) && desk.refused(&token);
        let first = failure.into_trouble();
        if !refused {
            return Err(first);
        }
        tracing::info!(host = %plan.host, reply = %first.what, "the relay refused the access token; asking for another one");
        let token = self::token(desk, wire).await?;
        match self.by_any(wire, &attempt, Some(&token)).await {
            Ok(()) => {
                desk.accepted();
                Ok(())
            }
            Err(failure @ Failure::Refused(..)) => {
                desk.refused(&token);
                Err(failure.into_trouble())
            }
            // Some relays hang up on the second try: what they said to the first one tells more.
            Err(Failure::Ended(_)) => Err(first),
        }
    }

    /// Tries mechanisms until one is let in. Only a mechanism that the relay turns out not to have leads to the next one: a refused password does not, since
    /// every further try counts towards a lock-out.
    async fn by_any(&self, wire: &mut Wire, attempt: &Attempt<'_>, token: Option<&Token>) -> Result<(), Failure> {
        let channel = Channel { encrypted: wire.is_encrypted(), binding: wire.tls().and_then(binding::of) };
        let names = choose::candidates(attempt.auth, attempt.offer, &channel).map_err(Failure::Ended)?;
        let mut last = None;
        for (at, name) in names.iter().enumerate() {
            let mut mechanism = self.mechanism(*name, attempt, &channel, token).map_err(Failure::Ended)?;
            match exchange::run(wire, mechanism.as_mut(), attempt.table, attempt.limit).await {
                Err(Failure::Refused(reply, told)) if is_not_available(&reply) => {
                    if let Some(next) = names.get(at + 1) {
                        wire.recorder.note(Speaker::Note, || format!("{} is not available after all; trying {}", name.name(), next.name()));
                    }
                    last = Some(Failure::Refused(reply, told));
                }
                end => return end,
            }
        }
        Err(last.expect("there is at least one candidate, and each leaves the loop or a refusal"))
    }

    fn mechanism<'a>(
        &self,
        name: AuthMechanism,
        attempt: &Attempt<'a>,
        channel: &Channel,
        token: Option<&'a Token>,
    ) -> Result<Box<dyn Mechanism + 'a>, RelayTrouble> {
        let (auth, plan) = (attempt.auth, attempt.plan);
        let password = match (&auth.proof, token) {
            (Proof::Tokens(_), Some(token)) => {
                return Ok(match name {
                    AuthMechanism::OAuthBearer => Box::new(bearer::Bearer::oauthbearer(&auth.user, &plan.host, plan.port, token.secret())),
                    _ => Box::new(bearer::Bearer::xoauth2(&auth.user, token.secret())),
                });
            }
            (Proof::Tokens(_), None) => return Err(trouble(TroubleKind::Configuration, "there is no access token")),
            (Proof::Password(password), _) => password,
        };
        let hash = match name {
            AuthMechanism::Plain => return Ok(Box::new(plain::Plain::of(&auth.user, password))),
            AuthMechanism::Login => return Ok(Box::new(plain::Login::of(&auth.user, password))),
            AuthMechanism::CramMd5 => return Ok(Box::new(cram_md5::CramMd5::of(&auth.user, password))),
            AuthMechanism::ScramSha1 | AuthMechanism::ScramSha1Plus => Hash::Sha1,
            _ => Hash::Sha256,
        };
        let flag = match &channel.binding {
            Some(binding) if name.is_bound() => Flag::Bound(binding.clone()),
            Some(_) if !attempt.offer.auth.iter().any(|offered| offered.ends_with("-PLUS")) => Flag::Unoffered,
            _ => Flag::None,
        };
        let nonce =
            scram::nonce().map_err(|error| trouble(TroubleKind::Configuration, format!("this machine has no randomness: {error}")))?;
        Ok(Box::new(Scram::of(hash, flag, &auth.user, password, nonce, Arc::clone(&self.keys))))
    }
}

async fn token(desk: &TokenDesk, wire: &Wire) -> Result<Token, RelayTrouble> {
    let (token, fresh) = desk.token().await?;
    if fresh {
        wire.recorder.note(Speaker::Note, || format!("access token from {}", desk.endpoint()));
    }
    Ok(token)
}

/// RFC 4954 §6: 504 a mechanism that is not known, 534 one that is too weak, 538 one that wants encryption. None of them looked at a password.
fn is_not_available(reply: &Reply) -> bool {
    matches!(reply.code, 504 | 534 | 538)
}

/// Whether a refusal may have to do with the token's end. Exchange says 535 5.7.139 where signing in is switched off, which another token does not switch on; the
/// table of replies may know more of the kind.
fn a_new_token_may_help(reply: &Reply, table: &ReplyTable) -> bool {
    let useless = reply.enhanced == Some(Enhanced(5, 7, 139)) || table.rule(Stage::Auth, reply).is_some_and(|rule| rule.no_refresh);
    reply.code == 535 && !useless
}

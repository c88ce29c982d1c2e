//! The environment guard: what may leave this house, decided on the final envelope, after every redirect, and fail closed.
//!
//! A courier takes a [`Cleared`] recipient only, and only [`EnvironmentGuard::admit`] makes one: a path that forgets the guard does not compile.

use crate::{address::Address, outbox::Role};

/// What happens to mail in this environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Letters go to their readers.
    Live,
    /// Every letter goes to one address; copies to another if one is named.
    Redirect,
    /// Every letter is appended to one file.
    File,
    /// Nothing leaves; letters are held.
    Off,
}

impl Mode {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Redirect => "redirect",
            Self::File => "file",
            Self::Off => "off",
        }
    }
}

/// The guard's settings; see the section `[safety]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentGuard {
    mode: Mode,
    redirect_to: Option<Address>,
    redirect_cc: Option<Address>,
    allowed_domains: Vec<String>,
}

/// A recipient that the guard has let through. Cannot be made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    address: Address,
    redirected: bool,
}

impl Cleared {
    /// Where the letter goes.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether this is not the reader's own address.
    pub fn redirected(&self) -> bool {
        self.redirected
    }
}

/// The guard's word on one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may go, to this address, by its relay.
    Send(Cleared),
    /// It may go, into the file of `safety.file` only.
    ToFile(Cleared),
    /// It stays, until an operator releases it.
    Hold(String),
    /// It is refused for good, with the reason.
    Refuse(String),
}

impl EnvironmentGuard {
    /// A guard. Domains are compared without regard to case; an entry that begins with a dot, or `*.`, covers every sub-domain.
    /// An empty list of domains allows every domain.
    pub fn new(mode: Mode, redirect_to: Option<Address>, redirect_cc: Option<Address>, allowed_domains: Vec<String>) -> Self {
        let allowed_domains =
            allowed_domains.into_iter().map(|d| d.trim().trim_start_matches('*').to_lowercase()).filter(|d| !d.is_empty()).collect();
        Self { mode, redirect_to, redirect_cc, allowed_domains }
    }

    /// The mode in force.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Decides on one recipient.
    pub fn admit(&self, to: &Address, role: Role) -> Verdict {
        let (address, redirected) = match self.mode {
            Mode::Off => return Verdict::Hold("mail is switched off here (safety.mode = \"off\")".to_owned()),
            Mode::Live | Mode::File => (to, false),
            Mode::Redirect => match (role, &self.redirect_cc, &self.redirect_to) {
                (Role::Cc, Some(cc), _) => (cc, true),
                (_, _, Some(to)) => (to, true),
                (_, _, None) => return Verdict::Hold("safety.mode is \"redirect\" but safety.redirect_to names nobody".to_owned()),
            },
        };
        if !self.domain_allowed(address.domain()) {
            return Verdict::Refuse(format!(
                "the environment guard allows only {}; `{}` is not among them (safety.allowed_domains)",
                self.allowed_domains.join(", "),
                address.domain()
            ));
        }
        let cleared = Cleared { address: address.clone(), redirected };
        if self.mode == Mode::File { Verdict::ToFile(cleared) } else { Verdict::Send(cleared) }
    }

    fn domain_allowed(&self, domain: &str) -> bool {
        self.allowed_domains.is_empty()
            || self.allowed_domains.iter().any(|allowed| match allowed.strip_prefix('.') {
                Some(parent) => {
                    domain.len() > parent.len() && domain.ends_with(parent) && domain.as_bytes()[domain.len() - parent.len() - 1] == b'.'
                }
                None => domain == allowed,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn the_allow_list_is_applied_after_the_redirect() {
        let guard = EnvironmentGuard::new(
            Mode::Redirect,
            Some(to("all@test.example.org")),
            Some(to("cc@elsewhere.example")),
            vec!["test.example.org".into()],
        );
        assert!(
            matches!(guard.admit(&to("ada@example.org"), Role::To), Verdict::Send(c) if c.address().as_str() == "all@test.example.org" && c.redirected())
        );
        assert!(matches!(guard.admit(&to("ada@example.org"), Role::Cc), Verdict::Refuse(why) if why.contains("elsewhere.example")));
    }

    #[test]
    fn an_allow_list_alone_refuses_other_domains_and_look_alikes() {
        let guard = EnvironmentGuard::new(Mode::Live, None, None, vec!["example.org".into(), "*.corp.example".into()]);
        assert!(matches!(guard.admit(&to("a@EXAMPLE.org"), Role::To), Verdict::Send(_)));
        assert!(matches!(guard.admit(&to("a@mail.corp.example"), Role::To), Verdict::Send(_)));
        for wrong in ["a@notexample.org", "a@sub.example.org", "a@corp.example", "a@evilcorp.example"] {
            assert!(matches!(guard.admit(&to(wrong), Role::To), Verdict::Refuse(_)), "{wrong}");
        }
    }

    #[test]
    fn a_redirect_without_a_target_and_a_switched_off_house_send_nothing() {
        for guard in [EnvironmentGuard::new(Mode::Redirect, None, None, vec![]), EnvironmentGuard::new(Mode::Off, None, None, vec![])] {
            assert!(matches!(guard.admit(&to("ada@example.org"), Role::To), Verdict::Hold(_)));
        }
    }
}

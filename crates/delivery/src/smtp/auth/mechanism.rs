//! What a mechanism is (SASL, RFC 4422), from the client's side.

use crate::courier::{RelayTrouble, TroubleKind};
use async_trait::async_trait;
use tidings_core::outbox::Stage;
use zeroize::Zeroizing;

/// One attempt to sign in by one mechanism.
#[async_trait]
pub(super) trait Mechanism: Send {
    /// The name on the wire.
    fn name(&self) -> &'static str;

    /// What may be sent together with AUTH, if the mechanism lets the client begin.
    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>>;

    /// The answer to a challenge, or why there is none.
    async fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Objection>;

    /// Whether a challenge that is not base64 is taken as it stands.
    fn takes_raw_challenges(&self) -> bool {
        false
    }

    /// What is to be said against a welcome: a relay that should have proved who it is may not have done so.
    fn finish(&self) -> Result<(), Objection> {
        Ok(())
    }

    /// What the relay said of its refusal inside the exchange, one line, without secrets.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// Why the exchange is broken off from our side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    kind: TroubleKind,
    what: String,
    hint: Option<&'static str>,
}

impl Objection {
    /// The relay does not keep to the mechanism.
    pub(super) fn nonsense(what: impl Into<String>) -> Self {
        Self { kind: TroubleKind::Protocol, what: format!("the relay sent {}", what.into()), hint: None }
    }

    /// The relay does not know the password itself: it is not who it should be, or the sign-in was tampered with.
    pub(super) fn impostor(what: impl Into<String>) -> Self {
        let hint = "somebody may stand between this machine and the relay; check host, tls and ca_file";
        Self { kind: TroubleKind::Auth, what: what.into(), hint: Some(hint) }
    }

    /// The relay asks for what is not given.
    pub(super) fn refused(what: impl Into<String>, hint: &'static str) -> Self {
        Self { kind: TroubleKind::Configuration, what: what.into(), hint: Some(hint) }
    }

    /// The relay breaks the exchange off in the mechanism's own words.
    pub(super) fn not_let_in(what: impl Into<String>) -> Self {
        let hint = "check user name and password, or choose another auth.mechanism: the relay may not know this kind of channel binding";
        Self { kind: TroubleKind::Auth, what: what.into(), hint: Some(hint) }
    }

    pub(super) fn into_trouble(self) -> RelayTrouble {
        let trouble = RelayTrouble::new(self.kind, Stage::Auth, self.what);
        match self.hint {
            Some(hint) => trouble.hint(hint),
            None => trouble,
        }
    }
}

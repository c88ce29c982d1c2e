//! Confirming a link, once, and redeeming the code that its reader is handed over with, once.
//!
//! What was used stands in the database, a slate for each link and code, which only the first of all who try can write. It is on disk before anybody is handed over.

use crate::{
    keyring::Keyring,
    links::Plan,
    token::{Claims, Use, opened, sealed},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{sync::Arc, time::Duration};
use tidings_core::Clock;
use tidings_store::{SlateWritten, Store, StoreError};

/// How long a code holds: from our page to the application's is one step.
const CODE_VALID_FOR_S: i64 = 60;

/// How long after its end it is known of a link that it was used. Nobody can use it then; but a clock may be set back.
const REMEMBERED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a link leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// It is none of ours: cut, changed, made up, or for another page.
    Invalid,
    /// Its time is over.
    Expired,
    /// It was used before.
    Used,
}

/// A link was confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// Where its reader goes on, with the code.
    pub hand_over: String,
}

/// What a code stands for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Redeemed {
    /// Whose password it is about, as the event has named the person.
    pub subject: String,
    /// The link's name.
    pub jti: String,
    /// When the link was confirmed, in seconds of Unix time.
    pub confirmed_at: i64,
}

/// What became of an attempt; the outer error is the database's.
pub type Outcome<T> = Result<Result<T, LinkFault>, StoreError>;

/// Confirms links.
pub struct Confirmations {
    plan: Plan,
    keyring: Arc<Keyring>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Confirmations {
    /// By these keys, remembered in this database.
    pub fn new(plan: Plan, keyring: Arc<Keyring>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { plan, keyring, store, clock }
    }

    /// How links are made.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The language of the letter that a token stood in, if it is one of ours.
    pub(crate) fn language(&self, token: &str) -> Option<String> {
        self.link(token)?.locale
    }

    fn link(&self, token: &str) -> Option<Claims> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let claims = opened(&self.keyring, Use::Link, &text)?;
        (claims.iss == self.plan.issuer && claims.aud == self.plan.base).then_some(claims)
    }

    fn checked(&self, claims: Option<Claims>) -> Result<Claims, LinkFault> {
        let claims = claims.ok_or(LinkFault::Invalid)?;
        if claims.exp <= self.clock.now().as_second() { Err(LinkFault::Expired) } else { Ok(claims) }
    }

    /// Looks at a link and changes nothing: programs that follow links in letters do no harm.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn look(&self, token: &str) -> Outcome<()> {
        let claims = match self.checked(self.link(token)) {
            Ok(claims) => claims,
            Err(fault) => return Ok(Err(fault)),
        };
        let slate = self.store.slate(&slate_name("link", claims.exp, &claims.jti)).await?;
        Ok(if slate.version == 0 { Ok(()) } else { Err(LinkFault::Used) })
    }

    /// Confirms a link: of all who try, and ever will, one is handed over.
    ///
    /// # Errors
    /// If the database cannot be written; the link is not used up then, unless the answer alone was lost.
    pub async fn confirm(&self, token: &str) -> Outcome<Confirmed> {
        let claims = match self.checked(self.link(token)) {
            Ok(claims) => claims,
            Err(fault) => return Ok(Err(fault)),
        };
        // Signed before the link is used up, so that what can fail has not failed behind it.
        let now = self.clock.now().as_second();
        let code = Claims {
            iss: self.plan.issuer.clone(),
            aud: self.plan.hand_over.clone(),
            sub: claims.sub,
            iat: now,
            exp: now + CODE_VALID_FOR_S,
            jti: claims.jti.clone(),
            locale: None,
        };
        let unsigned = || StoreError::Unavailable("the system gives no random numbers, so no code can be signed".into());
        let code = sealed(&self.keyring, Use::Code, &code).ok_or_else(unsigned)?;
        match self.store.write_slate(&slate_name("link", claims.exp, &claims.jti), 0, "used").await? {
            SlateWritten::Moved(_) => Ok(Err(LinkFault::Used)),
            SlateWritten::Done(_) => {
                let joint = if self.plan.hand_over.contains('?') { '&' } else { '?' };
                Ok(Ok(Confirmed { hand_over: format!("{}{joint}code={code}", self.plan.hand_over) }))
            }
        }
    }

    /// Redeems a code for the application: once, within its minute.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn redeem(&self, code: &str) -> Outcome<Redeemed> {
        let claims = opened(&self.keyring, Use::Code, code);
        let ours = claims.filter(|claims| claims.iss == self.plan.issuer && claims.aud == self.plan.hand_over);
        let claims = match self.checked(ours) {
            Ok(claims) => claims,
            Err(fault) => return Ok(Err(fault)),
        };
        match self.store.write_slate(&slate_name("code", claims.exp, &claims.jti), 0, "redeemed").await? {
            SlateWritten::Moved(_) => Ok(Err(LinkFault::Used)),
            SlateWritten::Done(_) => Ok(Ok(Redeemed { subject: claims.sub, jti: claims.jti, confirmed_at: claims.iat })),
        }
    }

    /// Forgets links and codes that ended long ago; how many.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn forget(&self) -> Result<u64, StoreError> {
        let before = self.clock.now().as_second() - i64::try_from(REMEMBERED_FOR.as_secs()).expect("a week");
        let mut forgotten = 0;
        for what in ["link", "code"] {
            forgotten += self.store.forget_slates(&format!("{what}:"), &slate_name(what, before, "")).await?;
        }
        Ok(forgotten)
    }
}

/// By the moment of its end first, so that what has ended stands together.
fn slate_name(what: &str, end: i64, jti: &str) -> String {
    format!("{what}:{end:012}:{jti}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::Links;
    use jiff::SignedDuration;
    use serde_json::{Value, json};
    use std::path::Path;
    use tidings_core::testing::FixedClock;
    use tidings_store::{OpenOptions, SealKey};

    struct House {
        folder: tempfile::TempDir,
        clock: Arc<FixedClock>,
        keyring: Arc<Keyring>,
    }

    fn plan() -> Plan {
        Plan {
            issuer: "https://agent.example.org".to_owned(),
            base: "https://agent.example.org/reset?t=".to_owned(),
            path: "/reset".to_owned(),
            parameter: "t".to_owned(),
            hand_over: "https://app.example.org/choose?x=1".to_owned(),
            valid_for: Duration::from_secs(600),
        }
    }

    impl House {
        fn build() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let keyring = Arc::new(Keyring::open(&folder.path().join("keys")).unwrap());
            let clock = Arc::new(FixedClock::at("2026-11-22T09:00:00Z"));
            Self { folder, clock, keyring }
        }

        async fn store(&self) -> Arc<dyn Store> {
            store(self.folder.path(), Arc::clone(&self.clock)).await
        }

        async fn confirmations(&self, plan: Plan) -> Confirmations {
            Confirmations::new(plan, Arc::clone(&self.keyring), self.store().await, self.clock.clone())
        }

        fn link(&self, plan: &Plan) -> String {
            let links = Links::new(Some(plan.clone()), Arc::clone(&self.keyring), self.clock.clone());
            let event = json!({"type": "tidings.password.reset_link", "data": {"object": {"id": "u1", "locale": "de"}}});
            let events = links.complete(vec![event], false).unwrap().unwrap();
            let Value::String(link) = &events[0]["data"]["details"]["link"] else { panic!("{events:?}") };
            assert_eq!(events[0]["data"]["details"]["expires_at"], "2026-11-22T09:10:00Z");
            link.strip_prefix(&plan.base).unwrap().to_owned()
        }
    }

    async fn store(folder: &Path, clock: Arc<FixedClock>) -> Arc<dyn Store> {
        let options = OpenOptions {
            url: "sqlite:tidings.db".to_owned(),
            data_dir: folder.to_owned(),
            key: SealKey::from_bytes([7; 32]),
            clock,
            min_free_bytes: 0,
        };
        tidings_store::open(options).await.unwrap()
    }

    #[tokio::test]
    async fn a_link_is_confirmed_once_and_its_code_redeemed_once() {
        let house = House::build();
        let confirmations = house.confirmations(plan()).await;
        let token = house.link(&plan());
        assert_eq!(confirmations.language(&token).as_deref(), Some("de"));
        assert_eq!(confirmations.look(&token).await.unwrap(), Ok(()));
        let confirmed = confirmations.confirm(&token).await.unwrap().unwrap();
        let code = confirmed.hand_over.strip_prefix("https://app.example.org/choose?x=1&code=").unwrap();
        assert_eq!(confirmations.look(&token).await.unwrap(), Err(LinkFault::Used));
        // The other handle on the database is another process, or this one after a restart.
        let elsewhere = house.confirmations(plan()).await;
        assert_eq!(elsewhere.confirm(&token).await.unwrap(), Err(LinkFault::Used));
        let redeemed = elsewhere.redeem(code).await.unwrap().unwrap();
        assert_eq!((redeemed.subject.as_str(), redeemed.confirmed_at), ("u1", house.clock.now().as_second()));
        assert_eq!(confirmations.redeem(code).await.unwrap(), Err(LinkFault::Used));
        assert_eq!(confirmations.confirm(code).await.unwrap(), Err(LinkFault::Invalid), "a code is no link");
    }

    #[tokio::test]
    async fn what_has_ended_is_refused_and_forgotten_later_still() {
        let house = House::build();
        let confirmations = house.confirmations(plan()).await;
        let (used, unused) = (house.link(&plan()), house.link(&plan()));
        let hand_over = confirmations.confirm(&used).await.unwrap().unwrap().hand_over;
        let code = hand_over.rsplit_once('=').unwrap().1;
        house.clock.advance(SignedDuration::from_secs(59));
        assert_eq!(confirmations.look(&unused).await.unwrap(), Ok(()));
        house.clock.advance(SignedDuration::from_secs(1));
        assert_eq!(confirmations.redeem(code).await.unwrap(), Err(LinkFault::Expired));
        house.clock.advance(SignedDuration::from_secs(540));
        assert_eq!(confirmations.confirm(&unused).await.unwrap(), Err(LinkFault::Expired));
        assert_eq!(confirmations.confirm(&used).await.unwrap(), Err(LinkFault::Expired));
        house.clock.advance(SignedDuration::try_from(REMEMBERED_FOR).unwrap());
        assert_eq!(confirmations.forget().await.unwrap(), 0, "not before its time");
        house.clock.advance(SignedDuration::from_secs(1));
        assert_eq!(confirmations.forget().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_link_of_another_page_or_another_agent_is_none_of_ours() {
        let (house, stranger) = (House::build(), House::build());
        let confirmations = house.confirmations(plan()).await;
        for plan in [
            Plan { issuer: "https://other.example.org".to_owned(), ..plan() },
            Plan { base: "https://agent.example.org/other?t=".to_owned(), ..plan() },
        ] {
            assert_eq!(confirmations.confirm(&house.link(&plan)).await.unwrap(), Err(LinkFault::Invalid));
        }
        assert_eq!(confirmations.confirm(&stranger.link(&plan())).await.unwrap(), Err(LinkFault::Invalid));
    }
}

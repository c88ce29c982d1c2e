//! From nothing to a session that may send: find, connect, greet, encrypt, sign in.

use super::{
    SmtpCourier,
    dialogue::{Recorder, Speaker},
    ehlo::Offer,
    reply::Reply,
    tls::{self, Encryption},
    wire::{Lost, Stream, Wire},
};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    plan::TlsMode,
    reach,
};
use tidings_core::outbox::Stage;
use tokio::{net::TcpStream, time::timeout};

/// Each step of opening a session has a deadline of its own; all together have that of so many commands and two connections.
const STAGES: u32 = 5;

/// A loss at a step where no letter is involved yet.
fn lost(stage: Stage, lost: &Lost) -> RelayTrouble {
    let trouble = |kind| RelayTrouble::new(kind, stage, lost.words());
    match lost {
        Lost::Malformed(_) => trouble(TroubleKind::Protocol),
        Lost::Alert(_) => trouble(TroubleKind::Tls).hint(tls::CLIENT_CERTIFICATE_HINT),
        Lost::Closed(_) | Lost::Late(_) => trouble(TroubleKind::Unreachable),
    }
}

impl SmtpCourier {
    /// Opens a session up to the point where MAIL may be sent.
    pub(super) async fn open(&self, recorder: Recorder) -> Result<(Wire, Offer), RelayTrouble> {
        let limit = self.timeouts.connect * 2 + self.timeouts.command * STAGES;
        let opened = timeout(limit, self.open_noting(recorder.clone())).await.unwrap_or_else(|_| {
            let what = format!("the relay answers every step so slowly that after {} s no letter could be sent", limit.as_secs_f64());
            Err(RelayTrouble::new(TroubleKind::Unreachable, Stage::Connect, what)
                .hint("the relay is overloaded, or something between holds its answers back"))
        });
        if let Err(trouble) = &opened {
            recorder.note(Speaker::Note, || trouble.sentence());
        }
        opened
    }

    async fn open_noting(&self, recorder: Recorder) -> Result<(Wire, Offer), RelayTrouble> {
        let stream = reach::connect(&self.plan.host, self.plan.port, self.timeouts.connect, &recorder).await?;
        let implicit = match self.plan.tls {
            TlsMode::Implicit => true,
            TlsMode::Auto => self.plan.port == 465,
            TlsMode::None | TlsMode::StartTls | TlsMode::StartTlsWhenAvailable => false,
        };
        let mut wire = if implicit { self.encrypt(stream, recorder).await? } else { Wire::new(Stream::Plain(stream), recorder) };
        let greeting = wire.reply(self.timeouts.command).await.map_err(|l| {
            let trouble = lost(Stage::Greeting, &l);
            if matches!(l, Lost::Late(_)) && !implicit {
                trouble.hint("the port may expect TLS at once: tls = \"implicit\"")
            } else {
                trouble
            }
        })?;
        if greeting.code != 220 {
            return Err(self.table.trouble(Stage::Greeting, &greeting));
        }
        let mut offer = self.ehlo(&mut wire).await?;
        if !wire.is_encrypted() {
            let wanted = match self.plan.tls {
                TlsMode::StartTls => true,
                TlsMode::Auto | TlsMode::StartTlsWhenAvailable => offer.starttls,
                TlsMode::None | TlsMode::Implicit => false,
            };
            if wanted {
                (wire, offer) = self.starttls(wire, &offer).await?;
            }
        }
        if let Some(auth) = &self.plan.auth {
            self.sign_in.run(&mut wire, &offer, &self.plan, auth, &self.table, self.timeouts.command).await?;
        }
        Ok((wire, offer))
    }

    fn encryption(&self) -> Result<&Encryption, RelayTrouble> {
        let made = self.encryption.get_or_init(|| Encryption::from_plan(&self.plan));
        made.as_ref().map_err(|error| {
            let mut what = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                what = format!("{what}: {cause}");
                source = cause.source();
            }
            RelayTrouble::new(TroubleKind::Configuration, Stage::Tls, what)
        })
    }

    async fn encrypt(&self, stream: TcpStream, recorder: Recorder) -> Result<Wire, RelayTrouble> {
        let encryption = self.encryption()?;
        let stream = encryption.handshake(stream, self.timeouts.connect).await?;
        if let Some((warning, is_news)) = encryption.warning() {
            if is_news {
                tracing::warn!(smtp.host = %self.plan.host, "{warning}");
            }
            recorder.note(Speaker::Note, || format!("warning: {warning}"));
        }
        recorder.note(Speaker::Note, || {
            let version = stream.get_ref().1.protocol_version().and_then(|v| v.as_str()).unwrap_or("TLS");
            format!("encrypted with {version}")
        });
        Ok(Wire::new(Stream::Tls(Box::new(stream)), recorder))
    }

    /// Says one command and reads its answer, where only the relay can be at fault.
    ///
    /// A relay that has said more than it was asked would be understood wrongly from here on.
    async fn ask(&self, wire: &mut Wire, stage: Stage, command: &str) -> Result<Reply, RelayTrouble> {
        if wire.unread() > 0 {
            return Err(RelayTrouble::new(TroubleKind::Protocol, stage, "the relay said more than it was asked"));
        }
        wire.recorder.note(Speaker::Us, || command);
        wire.write(format!("{command}\r\n").as_bytes(), self.timeouts.command).await.map_err(|(_, l)| lost(stage, &l))?;
        wire.reply(self.timeouts.command).await.map_err(|l| lost(stage, &l))
    }

    async fn ehlo(&self, wire: &mut Wire) -> Result<Offer, RelayTrouble> {
        let reply = self.ask(wire, Stage::Ehlo, &format!("EHLO {}", self.plan.helo)).await?;
        match reply.code {
            250 => Ok(Offer::read(&reply)),
            // RFC 5321 §3.2: a server without extensions; it cannot encrypt or sign in either.
            500 | 502 => {
                let reply = self.ask(wire, Stage::Ehlo, &format!("HELO {}", self.plan.helo)).await?;
                if reply.code == 250 { Ok(Offer::default()) } else { Err(self.table.trouble(Stage::Ehlo, &reply)) }
            }
            _ => Err(self.table.trouble(Stage::Ehlo, &reply)),
        }
    }

    /// RFC 3207: what was said in clear is forgotten, and whatever stands in the buffer behind the 220 was put there by somebody in between.
    async fn starttls(&self, mut wire: Wire, offer: &Offer) -> Result<(Wire, Offer), RelayTrouble> {
        let trouble = |kind, what: &str| RelayTrouble::new(kind, Stage::Tls, what);
        if !offer.starttls {
            return Err(trouble(TroubleKind::Tls, "the relay offers no STARTTLS, and encryption is required (tls = \"starttls\")")
                .hint("the port may want TLS at once (465 with tls = \"implicit\"), or somebody between strips the offer"));
        }
        let reply = self.ask(&mut wire, Stage::Tls, "STARTTLS").await?;
        if reply.code != 220 {
            return Err(self.table.trouble(Stage::Tls, &reply));
        }
        if wire.unread() > 0 {
            return Err(trouble(
                TroubleKind::Protocol,
                "clear text followed the answer to STARTTLS: somebody may be tampering with the connection",
            ));
        }
        let (stream, recorder) = wire.into_clear().expect("STARTTLS is asked for on clear sessions only");
        let mut wire = self.encrypt(stream, recorder).await?;
        let offer = self.ehlo(&mut wire).await?;
        Ok((wire, offer))
    }
}

//! `tidings send-test`: a real letter by the production path. It is an event like any other, goes through policy, letters, outbox and guard, and is delivered by
//! the same courier; only the claim is this command's own, so that the dialogue can be shown.

use super::block_on;
use crate::{
    args::SendTestArgs,
    assemble::{self, House},
    clock::{SystemClock, random},
    output,
};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::{process::ExitCode, sync::Arc};
use tidings_core::{
    Clock, Id,
    kind::AfterUnknown,
    outbox::{self, Outcome, Standing},
};
use tidings_delivery::{Delivered, plan::RelayPlan};
use tidings_intake::{Claimed, IntakeError};
use tidings_store::{Lease, Settled};

/// Runs the command.
pub fn run(args: SendTestArgs) -> Result<ExitCode> {
    let settings = assemble::settings_for_sending(&args.config.config)?;
    block_on(async move {
        let house = House::build(settings).await?;
        let relay = match &args.relay {
            Some(name) => house.relay(name)?,
            None => house.relays.first().expect("checked settings have a relay"),
        };
        let node = format!("send-test-{:016x}", u64::from_le_bytes(random()?));
        let claimed = accept(&house, &args, relay, &node).await?;
        let [item] = claimed.items.as_slice() else {
            bail!("the policy sends no test letter: the rule `built-in:test` is switched off or replaced (see tidings explain)");
        };
        if let Some(why) = &item.held {
            bail!("the letter is held: {why}");
        }
        let lease = lease(&claimed, SystemClock.now());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let delivered = tidings_delivery::deliver_now(relay, &house.safety.guard(), house.safety.file.as_deref(), &clock, &lease).await;
        settle(&house, relay, &lease, &delivered).await?;
        tell(relay, item.id, &delivered, args.output.json)
    })
}

async fn accept(house: &House, args: &SendTestArgs, relay: &RelayPlan, node: &str) -> Result<Claimed> {
    let mut reader = json!({"type": "user", "mail": args.to.as_str()});
    if let Some(locale) = &args.locale {
        reader["locale"] = json!(locale.as_str());
    }
    let event = json!({
        "specversion": "1.0",
        "id": node,
        "source": "tidings/send-test",
        "type": "tidings.test",
        "data": {"object": reader, "details": {"relay": relay.name, "host": assemble::machine_name()}},
    });
    house.intake.accept_claimed(event, Some(&relay.name), node).await.map_err(|error| match error {
        IntakeError::Faulty(faults) => anyhow::anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        other => other.into(),
    })
}

/// The lease that the item was born with.
fn lease(claimed: &Claimed, accepted_at: tidings_core::Timestamp) -> Lease {
    let (item, letter) = (&claimed.items[0], &claimed.letters[0]);
    Lease {
        id: item.id,
        token: 1,
        event: claimed.event,
        kind: letter.kind.to_owned(),
        to: item.to.clone(),
        role: item.role,
        lane: item.lane,
        accepted_at,
        attempts: 0,
        maybe_duplicate: false,
        message_id: letter.message_id.clone(),
        sender: letter.sender.clone(),
        bytes: letter.bytes.clone().into(),
    }
}

/// Writes the outcome. A test letter that could not be sent is given up: whoever asked for it has been told, and it shall not arrive hours later.
async fn settle(house: &House, relay: &RelayPlan, lease: &Lease, delivered: &Delivered) -> Result<()> {
    let standing = Standing {
        id: lease.id,
        token: lease.token,
        accepted_at: lease.accepted_at,
        attempts: lease.attempts,
        maybe_duplicate: lease.maybe_duplicate,
        after_unknown: AfterUnknown::Hold,
    };
    let mut settlement = outbox::settle(&standing, delivered.outcome.clone(), &relay.retry, SystemClock.now(), 0.5);
    if settlement.state == outbox::State::Waiting {
        settlement.state = outbox::State::Failed;
        settlement.reply.push_str(" (a test letter is not tried again)");
    }
    match house.store.settle(vec![settlement]).await.context("noting what became of the test letter")?.as_slice() {
        [Settled::Done] => Ok(()),
        _ => bail!("the test letter took longer than its lease; somebody else has taken it over"),
    }
}

fn tell(relay: &RelayPlan, item: Id, delivered: &Delivered, as_json: bool) -> Result<ExitCode> {
    let hint = delivered.trouble.as_ref().and_then(|trouble| trouble.hint.clone());
    let (sent, stage, words) = match &delivered.outcome {
        Outcome::Sent { reply } => (true, None, reply.clone()),
        Outcome::Refused(outbox::Refusal::Transient { stage, reply } | outbox::Refusal::Permanent { stage, reply }) => {
            (false, Some(*stage), reply.clone())
        }
        Outcome::Unknown { what } => (false, delivered.trouble.as_ref().map(|t| t.stage), what.clone()),
        Outcome::Returned { what } => match &delivered.trouble {
            Some(trouble) => (false, Some(trouble.stage), trouble.what.clone()),
            None => (false, None, what.clone()),
        },
        Outcome::Withheld { why } | Outcome::Barred { why } => (false, None, why.clone()),
    };
    if as_json {
        output::json(&json!({
            "sent": sent, "item": item, "relay": relay.name, "stage": stage.map(outbox::Stage::as_str), "reply": words, "hint": hint,
            "dialogue": delivered.dialogue.to_string().lines().collect::<Vec<_>>(),
        }))?;
    } else {
        output::text(&delivered.dialogue.to_string())?;
    }
    if sent {
        if !as_json {
            output::text(&format!("{} took the letter: {words}", relay.name))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let at = stage.map(|stage| format!(" at {stage}")).unwrap_or_default();
    eprintln!("tidings: {} did not take the letter{at}: {words}", relay.name);
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    Ok(ExitCode::FAILURE)
}

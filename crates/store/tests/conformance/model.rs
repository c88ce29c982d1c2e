//! Random sequences of verbs, on the store and on a model of the outbox small enough to be seen to be right.

use crate::house::{House, LEASE, ask, hours, only, seconds};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRng, TestRunner},
};
use std::collections::BTreeMap;
use tidings_core::{
    Id, Lane, Timestamp,
    lane::LaneSet,
    outbox::{Settlement, State},
    time::later,
};
use tidings_store::{Acted, Action, Claim, Filter, Settled};

const NODES: [&str; 2] = ["node-a", "node-b"];
const RELAYS: [&str; 2] = ["main", "backup"];

#[derive(Debug, Clone)]
enum Step {
    Accept {
        lane: usize,
        relay: usize,
        held: bool,
        due: i64,
        life: i64,
        sensitive: bool,
    },
    Again,
    Claim {
        node: usize,
        relay: usize,
        limit: u16,
        share: u16,
        lanes: LaneSet,
        /// For the other relay, which is held.
        over: bool,
    },
    /// A lease ever given, by age: the older ones are stale.
    Settle {
        lease: usize,
        state: State,
        delay: u64,
    },
    Extend {
        lease: usize,
        node: usize,
    },
    Recover {
        node: usize,
    },
    Expire {
        limit: u32,
    },
    Act {
        action: Action,
        item: Option<usize>,
    },
    Pause {
        relay: usize,
        paused: bool,
    },
    Advance {
        seconds: i64,
    },
    /// The clock is set back, and somebody asks for something.
    Back {
        seconds: i64,
    },
}

fn lanes() -> impl Strategy<Value = LaneSet> {
    prop_oneof![
        3 => Just(LaneSet::ALL),
        1 => (0usize..6).prop_map(|lane| LaneSet::down_to(Lane::ALL[lane])),
        1 => (0usize..6).prop_map(|lane| LaneSet::from(Lane::ALL[lane])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![Just(Action::Retry), Just(Action::Cancel), Just(Action::Hold), Just(Action::Release)];
    let state = prop_oneof![4 => Just(State::Sent), 2 => Just(State::Failed), 3 => Just(State::Waiting), 1 => Just(State::Held), 1 => Just(State::Bounced)];
    prop_oneof![
        6 => (0usize..6, 0usize..2, prop::bool::weighted(0.15), -20i64..60, 30i64..400, prop::bool::weighted(0.3))
            .prop_map(|(lane, relay, held, due, life, sensitive)| Step::Accept { lane, relay, held, due, life, sensitive }),
        1 => Just(Step::Again),
        5 => (0usize..2, 0usize..2, 1u16..4, 0u16..3, lanes(), prop::bool::weighted(0.3))
            .prop_map(|(node, relay, limit, share, lanes, over)| Step::Claim { node, relay, limit, share, lanes, over }),
        6 => (0usize..6, state, 0u64..100).prop_map(|(lease, state, delay)| Step::Settle { lease, state, delay }),
        2 => (0usize..6, 0usize..2).prop_map(|(lease, node)| Step::Extend { lease, node }),
        1 => (0usize..2).prop_map(|node| Step::Recover { node }),
        2 => (1u32..4).prop_map(|limit| Step::Expire { limit }),
        4 => (action, prop::option::weighted(0.8, 0usize..12)).prop_map(|(action, item)| Step::Act { action, item }),
        1 => (0usize..2, prop::bool::ANY).prop_map(|(relay, paused)| Step::Pause { relay, paused }),
        4 => (1i64..50).prop_map(|seconds| Step::Advance { seconds }),
        1 => (1i64..60).prop_map(|seconds| Step::Back { seconds }),
    ]
}

#[derive(Debug, Clone)]
struct ModelItem {
    lane: Lane,
    relay: usize,
    state: State,
    due: Timestamp,
    expires: Timestamp,
    accepted: Timestamp,
    attempts: u32,
    token: i64,
    node: Option<usize>,
    duplicate: bool,
    sensitive: bool,
    erased: bool,
    history: Vec<&'static str>,
}

impl ModelItem {
    fn end(&mut self, state: State, what: &'static str) {
        self.state = state;
        self.node = None;
        self.history.push(what);
        self.erased |= self.sensitive && state.is_final();
    }

    fn lapse(&mut self) {
        self.duplicate = true;
        self.history.push("lapsed");
    }

    fn act(&mut self, action: Action, now: Timestamp) -> bool {
        let state = match (action, self.state) {
            (Action::Retry, State::Waiting | State::Held | State::Failed | State::Cancelled) if !self.erased => State::Waiting,
            (Action::Cancel, State::Waiting | State::Held) => State::Cancelled,
            (Action::Hold, State::Waiting) => State::Held,
            (Action::Release, State::Held) => State::Waiting,
            _ => return false,
        };
        if action == Action::Retry {
            self.due = now;
        }
        self.end(state, action.as_str());
        true
    }
}

#[derive(Default)]
struct Model {
    items: BTreeMap<Id, ModelItem>,
    leases: Vec<(Id, i64)>,
    paused: [bool; 2],
    accepted: usize,
    newest: Option<Timestamp>,
}

impl Model {
    /// What a claim is given: all but the share by lane, then the lanes below by who has waited longest.
    fn due(&self, claim: &Claim, relay: usize, now: Timestamp) -> Vec<Id> {
        if self.paused[relay] {
            return Vec::new();
        }
        let wanted =
            |item: &ModelItem| item.relay == relay && claim.lanes.has(item.lane) && !(claim.taken_over_by.is_some() && item.sensitive);
        let open = |item: &ModelItem| matches!(item.state, State::Waiting | State::Claimed) && item.due <= now && item.expires > now;
        let mut due: Vec<_> = self.items.iter().filter(|(_, i)| wanted(i) && open(i)).map(|(id, i)| (i.lane, i.due, *id)).collect();
        due.sort();
        let limit = usize::from(claim.limit);
        let sure = limit - usize::from(claim.share.min(claim.limit));
        let mut given: Vec<_> = due.drain(..sure.min(due.len())).collect();
        if let Some((lane, ..)) = due.first().copied() {
            let first = |lane| due.iter().filter(|other| other.0 == lane).map(|other| other.1).min();
            let mut lower: Vec<_> = Lane::ALL.into_iter().filter(|other| *other > lane && first(*other).is_some()).collect();
            lower.sort_by_key(|lower| (first(*lower), *lower));
            for lane in &lower {
                given.extend(due.iter().filter(|other| other.0 == *lane));
            }
            given.extend(due.iter().filter(|other| !lower.contains(&other.0)));
        }
        given.truncate(limit);
        given.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The clock shows `now`, which may be behind what was accepted.
    fn set_back(&mut self, now: Timestamp) {
        if self.newest.is_none_or(|newest| newest.duration_since(now) <= seconds(1)) {
            return;
        }
        self.newest = Some(now);
        for item in self.items.values_mut().filter(|item| !item.state.is_final() && item.accepted > now) {
            let ahead = item.accepted.duration_since(now);
            if item.state != State::Claimed && (item.token == 0 || item.due >= item.accepted) {
                item.due -= ahead;
            }
            (item.expires, item.accepted) = (item.expires - ahead, now);
            item.history.push("clock");
        }
    }

    fn lease(&self, age: usize) -> Option<(Id, i64)> {
        self.leases.iter().rev().nth(age).copied()
    }
}

async fn play(house: &House, model: &mut Model, step: &Step) {
    let (now, store) = (house.now(), &house.store);
    match *step {
        Step::Accept { lane, relay, held, due, life, sensitive } => {
            model.accepted += 1;
            let mut draft = house.an_event(&format!("e{}", model.accepted)).lane(Lane::ALL[lane]).by(RELAYS[relay]);
            draft = draft.due_in(seconds(due)).lives_for(seconds(life));
            draft = if held { draft.held("by chance") } else { draft };
            let id = house.accept_one(if sensitive { draft.secret("hush") } else { draft }).await;
            let at = |by| now.checked_add(seconds(by)).unwrap();
            let (state, history) = if held { (State::Held, vec!["accepted", "withheld"]) } else { (State::Waiting, vec!["accepted"]) };
            let (due, expires) = (at(due), at(life));
            model.newest = model.newest.max(Some(now));
            let item = ModelItem {
                lane: Lane::ALL[lane],
                relay,
                state,
                due,
                expires,
                accepted: now,
                attempts: 0,
                token: 0,
                node: None,
                duplicate: false,
                sensitive,
                erased: false,
                history,
            };
            model.items.insert(id, item);
        }
        Step::Again if model.accepted > 0 => {
            let again = house.an_event(&format!("e{}", model.accepted)).build();
            assert!(matches!(store.accept(vec![again]).await.unwrap()[0], tidings_store::Accepted::Duplicate(_)));
        }
        Step::Again => {}
        Step::Claim { node, relay, limit, share, lanes, over } => {
            let taken_over_by = over.then(|| RELAYS[1 - relay].to_owned());
            let claim = Claim { relay: RELAYS[relay].to_owned(), share, lanes, taken_over_by, ..ask(NODES[node], limit) };
            let leases = store.claim(claim.clone()).await.unwrap();
            let due = model.due(&claim, relay, now);
            assert_eq!(crate::house::ids(&leases), due, "{claim:?}");
            for lease in leases {
                let item = model.items.get_mut(&lease.id).unwrap();
                if item.state == State::Claimed {
                    item.lapse();
                }
                (item.state, item.node, item.due) = (State::Claimed, Some(node), later(now, LEASE));
                item.token += 1;
                if over {
                    item.history.push("taken");
                }
                assert_eq!((lease.token, lease.attempts, lease.maybe_duplicate), (item.token, item.attempts, item.duplicate));
                model.leases.push((lease.id, lease.token));
            }
        }
        Step::Settle { lease, state, delay } => {
            let Some((id, token)) = model.lease(lease) else { return };
            let item = model.items.get_mut(&id).unwrap();
            let due_at = later(now, std::time::Duration::from_secs(delay));
            let attempts = item.attempts + 1;
            let maybe_duplicate = item.duplicate;
            let settlement = Settlement {
                id,
                token,
                state,
                due_at,
                attempts,
                maybe_duplicate,
                at: now,
                what: "refused",
                reply: "words".to_owned(),
                relay: None,
            };
            let held = item.state == State::Claimed && item.token == token;
            assert_eq!(house.settle(settlement).await, if held { Settled::Done } else { Settled::Stale });
            if held {
                (item.due, item.attempts) = (due_at, attempts);
                item.end(state, "refused");
            }
        }
        Step::Extend { lease, node } => {
            let Some((id, token)) = model.lease(lease) else { return };
            let item = model.items.get_mut(&id).unwrap();
            let held = item.state == State::Claimed && item.token == token && item.node == Some(node);
            let lost = store.extend(NODES[node], &[(id, token)], LEASE).await.unwrap();
            assert_eq!(lost, if held { vec![] } else { vec![id] });
            if held {
                item.due = later(now, LEASE);
            }
        }
        Step::Recover { node } => {
            let mut count = 0;
            for item in model.items.values_mut().filter(|item| item.state == State::Claimed && item.node == Some(node)) {
                (item.state, item.due, item.node) = (State::Waiting, now, None);
                item.lapse();
                count += 1;
            }
            assert_eq!(store.recover(NODES[node]).await.unwrap(), count);
        }
        Step::Expire { limit } => {
            // Which of those that are over go first is not promised; how many, and that all go in the end, is.
            let over = |item: &ModelItem| {
                item.expires <= now
                    && (matches!(item.state, State::Waiting | State::Held) || item.state == State::Claimed && item.due <= now)
            };
            let mut left = model.items.values().filter(|item| over(item)).count();
            loop {
                let expired = usize::try_from(store.expire(limit).await.unwrap()).unwrap();
                assert_eq!(expired, left.min(limit as usize));
                left -= expired;
                if expired == 0 {
                    break;
                }
            }
            for item in model.items.values_mut().filter(|item| over(item)) {
                if item.state == State::Claimed {
                    item.lapse();
                }
                item.end(State::Expired, "expired");
            }
        }
        Step::Act { action, item } => {
            let chosen = item.map(|age| model.items.keys().rev().nth(age).copied());
            let filter = match chosen {
                Some(Some(id)) => only(id),
                Some(None) => return,
                None => Filter { relay: Some(RELAYS[0].to_owned()), ..Filter::default() },
            };
            let mut acted = Acted { changed: 0, skipped: 0 };
            for (id, item) in &mut model.items {
                if filter.id.map_or(item.relay == 0, |only| only == *id) {
                    let changed = item.act(action, now);
                    acted.changed += u64::from(changed);
                    acted.skipped += u64::from(!changed);
                }
            }
            assert_eq!(store.act(action, filter, "model").await.unwrap(), acted);
        }
        Step::Pause { relay, paused } => {
            store.pause_relay(RELAYS[relay], paused, "model").await.unwrap();
            model.paused[relay] = paused;
        }
        Step::Advance { seconds: by } => house.clock.advance(seconds(by)),
        Step::Back { seconds: by } => {
            house.clock.advance(seconds(-by));
            store.ready().await.unwrap();
            model.set_back(house.now());
        }
    }
}

async fn compare(house: &House, model: &Model) {
    let page = house.store.items(Filter::default(), None, 1000).await.unwrap();
    assert_eq!(page.items.len(), model.items.len());
    for row in page.items {
        let item = &model.items[&row.id];
        assert_eq!((row.state, row.attempts, row.maybe_duplicate), (item.state, item.attempts, item.duplicate), "{}", row.id);
        if !item.state.is_final() {
            assert_eq!((row.due_at, row.expires_at, row.accepted_at), (item.due, item.expires, item.accepted), "{}", row.id);
        }
        assert_eq!(house.history(row.id).await, item.history, "{}", row.id);
        assert_eq!(house.store.letter(row.id).await.unwrap().is_some(), !item.sensitive, "{}", row.id);
    }
    let counted: u64 = house.store.depths().await.unwrap().iter().map(|depth| depth.items).sum();
    let open = model.items.values().filter(|item| !item.state.is_final()).count();
    assert_eq!(counted, open as u64);
}

pub(crate) async fn any_sequence_of_verbs_does_what_the_model_does(house: &House) {
    // Cases share the house, each under relays and a time of its own would hide nothing: so they share the model too and simply go on.
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[42; 32]));
    let mut model = Model::default();
    let mut played: Vec<Step> = Vec::new();
    for round in 0..20 {
        let steps = prop::collection::vec(step(), 60).new_tree(&mut runner).unwrap().current();
        for step in &steps {
            played.push(step.clone());
            play(house, &mut model, step).await;
        }
        compare(house, &model).await;
        if round % 4 == 3 {
            house.clock.advance(hours(1));
        }
    }
    assert!(played.len() == 1200 && model.leases.len() > 50, "the sequence did some work: {} leases", model.leases.len());
}

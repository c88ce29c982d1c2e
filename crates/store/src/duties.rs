//! Who does what alone: each node works out the same shares from what all of them see.
//!
//! A free duty goes to the node that offers it and has the fewest; a node that has at least two more than another one gives up as many as make them even. Whoever should take one and does not,
//! because it has gone or goes by another configuration, is waited for, and then somebody else does.

use std::collections::BTreeMap;

/// A living node.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) offers: Vec<String>,
}

/// A duty as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Duty {
    pub(crate) name: String,
    pub(crate) holder: Option<String>,
    /// When it was taken or left, in milliseconds.
    pub(crate) since: i64,
}

/// What a node is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Free ones to be taken.
    pub(crate) take: Vec<String>,
    /// Own ones that are others' part.
    pub(crate) surplus: Vec<String>,
}

/// Who offers a duty.
fn offering<'m>(members: &'m [Member], duty: &str) -> Vec<&'m str> {
    members.iter().filter(|member| member.offers.iter().any(|offer| offer == duty)).map(|member| member.name.as_str()).collect()
}

/// What `me` is to do, if a free duty may stay untaken for so long. The duties come by name.
pub(crate) fn shares(me: &str, members: &[Member], duties: &[Duty], now: i64, patience_ms: i64) -> Shares {
    let mut load: BTreeMap<&str, usize> = members.iter().map(|member| (member.name.as_str(), 0)).collect();
    for holder in duties.iter().filter_map(|duty| duty.holder.as_deref()) {
        if let Some(load) = load.get_mut(holder) {
            *load += 1;
        }
    }
    let mut shares = Shares::default();
    for duty in duties.iter().filter(|duty| duty.holder.is_none()) {
        let able = offering(members, &duty.name);
        let Some(least) = able.iter().copied().min_by_key(|name| (load[name], *name)) else { continue };
        *load.entry(least).or_default() += 1;
        let waited = now.saturating_sub(duty.since) > patience_ms && able.contains(&me);
        if least == me || waited {
            shares.take.push(duty.name.clone());
        }
    }
    for duty in duties.iter().rev().filter(|duty| duty.holder.as_deref() == Some(me)) {
        let able = offering(members, &duty.name).into_iter().filter(|name| *name != me);
        let Some(least) = able.min_by_key(|name| (load[name], *name)) else { continue };
        if load[me] >= load[least] + 2 {
            *load.entry(least).or_default() += 1;
            *load.entry(me).or_default() -= 1;
            shares.surplus.push(duty.name.clone());
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: i64 = 15_000;

    fn member(name: &str, offers: &[String]) -> Member {
        Member { name: name.to_owned(), offers: offers.to_vec() }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("duty-{n}")).collect()
    }

    /// Each node once; what is given up is free for the next.
    fn round(members: &[Member], duties: &mut [Duty], now: i64) {
        for member in members {
            let shares = shares(&member.name, members, duties, now, PATIENCE);
            for duty in duties.iter_mut() {
                if shares.take.contains(&duty.name) && duty.holder.is_none() {
                    (duty.holder, duty.since) = (Some(member.name.clone()), now);
                } else if shares.surplus.contains(&duty.name) {
                    (duty.holder, duty.since) = (None, now);
                }
            }
        }
    }

    #[test]
    fn a_node_alone_does_all_and_a_second_one_gets_its_half() {
        let offers = names(5);
        let mut duties: Vec<Duty> = offers.iter().map(|name| Duty { name: name.clone(), holder: None, since: 0 }).collect();
        let mut members = vec![member("a", &offers)];
        round(&members, &mut duties, 0);
        assert!(duties.iter().all(|duty| duty.holder.as_deref() == Some("a")));
        members.push(member("b", &offers));
        round(&members, &mut duties, 5_000);
        round(&members, &mut duties, 10_000);
        let of_b = duties.iter().filter(|duty| duty.holder.as_deref() == Some("b")).count();
        assert_eq!(of_b, 2);
        let before: Vec<_> = duties.iter().map(|duty| duty.since).collect();
        round(&members, &mut duties, 15_000);
        assert_eq!(before, duties.iter().map(|duty| duty.since).collect::<Vec<_>>(), "and then it rests");
    }

    #[test]
    fn a_duty_is_taken_by_another_one_if_its_turn_goes_by() {
        let offers = names(1);
        let members = [member("a", &offers), member("b", &offers)];
        let free = [Duty { name: offers[0].clone(), holder: None, since: 0 }];
        assert_eq!(shares("b", &members, &free, PATIENCE, PATIENCE), Shares::default(), "it is a's");
        assert_eq!(shares("b", &members, &free, PATIENCE + 1, PATIENCE).take, offers);
        let elsewhere = [member("a", &[]), member("b", &offers)];
        assert_eq!(shares("b", &elsewhere, &free, 0, PATIENCE).take, offers, "only b offers it");
        assert_eq!(shares("a", &elsewhere, &free, PATIENCE * 2, PATIENCE), Shares::default());
    }

    proptest! {
        /// Whatever they offer, after a few rounds all that is offered is done by somebody who offers it, nobody who could do a duty has two fewer than who does it, and nothing moves any more.
        #[test]
        fn shares_settle(offers in prop::collection::vec(prop::collection::vec(any::<bool>(), 6), 1..6), held in prop::collection::vec(0..8usize, 6)) {
            let all = names(6);
            let members: Vec<Member> = offers.iter().enumerate().map(|(n, offers)| {
                let offers: Vec<String> = all.iter().zip(offers).filter(|(_, offered)| **offered).map(|(name, _)| name.clone()).collect();
                member(&format!("node-{n}"), &offers)
            }).collect();
            let mut duties: Vec<Duty> = all.iter().zip(held).map(|(name, holder)| {
                let holder = members.get(holder).filter(|member| member.offers.contains(name)).map(|member| member.name.clone());
                Duty { name: name.clone(), holder, since: 0 }
            }).collect();
            for n in 0..20 {
                round(&members, &mut duties, n * 4_000);
            }
            let load = |name: &str| duties.iter().filter(|duty| duty.holder.as_deref() == Some(name)).count();
            for duty in &duties {
                let could: Vec<&Member> = members.iter().filter(|member| member.offers.contains(&duty.name)).collect();
                match &duty.holder {
                    None => prop_assert!(could.is_empty(), "{duty:?}"),
                    Some(holder) => for other in could {
                        prop_assert!(load(&other.name) + 2 > load(holder), "{duties:?}");
                    }
                }
            }
            let rest: Vec<i64> = duties.iter().map(|duty| duty.since).collect();
            round(&members, &mut duties, 100_000);
            prop_assert_eq!(rest, duties.iter().map(|duty| duty.since).collect::<Vec<_>>());
        }
    }
}

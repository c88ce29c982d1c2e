//! Fair shares: how many seats of a relay each node should have. Pure.

/// What a node has and wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claimant<'n> {
    pub(crate) name: &'n str,
    pub(crate) has: u16,
    pub(crate) wants: u16,
}

/// How many of `seats` one of the claimants should have: nobody more than it wants, and what one does not want is for the others in equal parts. What cannot be
/// divided stays with those who have seats, so that nothing changes hands while it is used.
pub(crate) fn fair_share(seats: u16, claimants: &[Claimant<'_>], of: &str) -> u16 {
    let mut waiting: Vec<&Claimant<'_>> = claimants.iter().filter(|claimant| claimant.wants > 0).collect();
    let mut left = seats;
    while !waiting.is_empty() {
        let equal = left / u16::try_from(waiting.len()).unwrap_or(u16::MAX);
        let (content, others): (Vec<&Claimant<'_>>, Vec<_>) = waiting.iter().partition(|claimant| claimant.wants <= equal);
        if let Some(content) = content.iter().find(|claimant| claimant.name == of) {
            return content.wants;
        }
        if content.is_empty() {
            let over = left - equal * u16::try_from(waiting.len()).unwrap_or(u16::MAX);
            waiting.sort_by_key(|claimant| (claimant.has <= equal, claimant.has == 0, claimant.name));
            let place = waiting.iter().position(|claimant| claimant.name == of);
            return place.map_or(0, |place| equal + u16::from(place < usize::from(over)));
        }
        left -= content.iter().map(|claimant| claimant.wants).sum::<u16>();
        waiting = others;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(seats: u16, claimants: &[(&str, u16, u16)]) -> Vec<u16> {
        let all: Vec<_> = claimants.iter().map(|&(name, has, wants)| Claimant { name, has, wants }).collect();
        all.iter().map(|claimant| fair_share(seats, &all, claimant.name)).collect()
    }

    #[test]
    fn what_one_does_not_want_is_for_the_others() {
        assert_eq!(shares(20, &[("a", 20, 20), ("b", 0, 20)]), [10, 10]);
        assert_eq!(shares(20, &[("a", 20, 20), ("b", 0, 3)]), [17, 3]);
        assert_eq!(shares(20, &[("a", 1, 1), ("b", 0, 3), ("c", 0, 50)]), [1, 3, 16]);
        assert_eq!(shares(3, &[("b", 2, 3), ("a", 1, 3)]), [2, 1], "nothing changes hands without need");
        assert_eq!(shares(1, &[("a", 0, 1), ("b", 1, 5), ("c", 0, 1)]), [0, 1, 0], "one seat stays where it is used");
        assert_eq!(shares(1, &[("a", 0, 1), ("b", 1, 0), ("c", 0, 1)]), [1, 0, 0]);
        assert_eq!(shares(0, &[("a", 0, 1)]), [0]);
    }

    proptest! {
        #[test]
        fn all_seats_are_given_and_none_twice(seats in 0u16..50, wants in proptest::collection::vec((0u16..20, 0u16..60), 0..12)) {
            let names: Vec<String> = (0..wants.len()).map(|n| format!("node{n}")).collect();
            let all: Vec<_> = names.iter().zip(&wants).map(|(name, &(has, wants))| Claimant { name, has, wants }).collect();
            let given: Vec<u16> = all.iter().map(|claimant| fair_share(seats, &all, claimant.name)).collect();
            let wanted: u16 = wants.iter().map(|(_, wants)| wants).sum();
            prop_assert_eq!(given.iter().sum::<u16>(), wanted.min(seats));
            for (given, claimant) in given.iter().zip(&all) {
                prop_assert!(*given <= claimant.wants);
                let equal = seats / u16::try_from(all.len()).unwrap();
                prop_assert!(*given >= claimant.wants.min(equal), "{given} of {seats} among {}", all.len());
            }
        }
    }
}

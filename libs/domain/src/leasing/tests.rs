use proptest::prelude::*;

use super::*;

fn run(id: usize, slots: i64, claims: Vec<Claim>) -> Candidate<usize> {
    Candidate { id, slots, claims }
}

fn claim(group: Group, most: i64, leased: i64) -> Claim {
    Claim { group, most, leased }
}

#[test]
fn what_one_cap_refuses_takes_no_place_under_another() {
    // A class of two places, and an agent that may have one run: its others must not use the class up.
    let class = || claim(Group::Class(1), 2, 0);
    let greedy = (0..10).map(|id| run(id, 1, vec![claim(Group::Agent("a".to_owned()), 1, 0), class()]));
    let mut waiting: Vec<_> = greedy.collect();
    waiting.push(run(10, 1, vec![class()]));
    assert_eq!(choose(&waiting, 5), [0, 10]);
}

#[test]
fn what_has_no_room_now_is_not_overtaken() {
    let waiting = [run(0, 3, Vec::new()), run(1, 1, Vec::new())];
    assert_eq!(choose(&waiting, 2), Vec::<usize>::new());
    assert_eq!(choose(&waiting, 3), [0]);
    assert_eq!(choose(&waiting, 4), [0, 1]);
}

fn groups() -> impl Strategy<Value = Group> {
    prop_oneof![
        "[ab]".prop_map(Group::Agent),
        "[xy]".prop_map(Group::Client),
        (0_i64..2).prop_map(Group::Class),
    ]
}

proptest! {
    #[test]
    fn no_cap_and_no_room_is_ever_exceeded_and_nobody_is_passed_over_without_one(
        waiting in prop::collection::vec((1_i64..4, prop::collection::hash_set(groups(), 0..3)), 0..40),
        caps in prop::collection::hash_map(groups(), (0_i64..5, 0_i64..3), 0..6),
        free in 0_i64..20,
    ) {
        let waiting: Vec<_> = waiting
            .into_iter()
            .enumerate()
            .map(|(id, (slots, of))| {
                let claims = of.into_iter().filter_map(|group| {
                    let (most, leased) = *caps.get(&group)?;
                    Some(claim(group, most, leased))
                });
                run(id, slots, claims.collect())
            })
            .collect();
        let chosen = choose(&waiting, free);
        let slots: i64 = chosen.iter().map(|id| waiting[*id].slots).sum();
        prop_assert!(slots <= free);
        let counted = |group: &Group, before: usize| {
            let of = |id: &&usize| **id < before && waiting[**id].claims.iter().any(|claim| claim.group == *group);
            i64::try_from(chosen.iter().filter(of).count()).unwrap()
        };
        for (group, (most, leased)) in &caps {
            let all = counted(group, usize::MAX);
            prop_assert!(all == 0 || all + leased <= *most, "{group:?}");
        }
        // Whoever was left out met a cap, or came behind one there was no room for.
        let mut used = 0;
        for candidate in &waiting {
            if chosen.contains(&candidate.id) {
                used += candidate.slots;
                continue;
            }
            let capped = candidate.claims.iter().any(|claim| claim.leased + counted(&claim.group, candidate.id) >= claim.most);
            if !capped {
                prop_assert!(used + candidate.slots > free);
                break;
            }
        }
    }
}

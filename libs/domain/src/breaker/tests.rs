use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(30);
const POLICY: Policy = Policy {
    failures: 5,
    share_permille: 500,
    of_calls: 20,
    first_pause: Duration::from_secs(5),
    longest_pause: Duration::from_secs(600),
};

fn at(secs: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap()
}

fn after(millis: i64) -> DateTime<Utc> {
    at(0) + TimeDelta::milliseconds(millis)
}

/// Opened at second zero.
fn opened() -> Breaker {
    let mut breaker = Breaker::default();
    for _ in 0..POLICY.failures {
        breaker.record(Outcome::Fails, Recent::default(), at(0), &POLICY);
    }
    breaker
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_does_not() {
    let mut breaker = Breaker::default();
    for _ in 0..20 {
        for _ in 0..POLICY.failures - 1 {
            assert_eq!(
                breaker.record(Outcome::Fails, Recent::default(), at(0), &POLICY),
                Change::None
            );
        }
        assert_eq!(
            breaker.record(Outcome::Works, Recent::default(), at(0), &POLICY),
            Change::None
        );
    }
    assert!(breaker.is_calm());
    assert_eq!(opened().admit(at(0)), Admission::Wait(POLICY.first_pause));
}

#[test]
fn half_of_many_calls_failing_opens_it_and_half_of_few_does_not() {
    let recent = |calls, failed| Recent { calls, failed };
    for (seen, change) in [
        (recent(19, 19), Change::None),
        (recent(20, 9), Change::None),
        (recent(20, 10), Change::Opened),
    ] {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.record(Outcome::Fails, seen, at(0), &POLICY), change, "{seen:?}");
    }
}

#[test]
fn a_platform_that_says_it_is_down_is_left_alone_for_the_longest_pause() {
    let mut breaker = Breaker::default();
    assert_eq!(
        breaker.record(Outcome::Down, Recent::default(), at(0), &POLICY),
        Change::Opened
    );
    assert_eq!(breaker.admit(at(0)), Admission::Wait(POLICY.longest_pause));
}

#[test]
fn one_probe_at_a_time_is_let_through_and_a_lost_one_only_keeps_others_out_for_its_lease() {
    let mut breaker = opened();
    assert_eq!(breaker.admit(at(5)), Admission::Probe);
    breaker.begin(at(5), LEASE);
    assert_eq!(breaker.admit(at(6)), Admission::Wait(Duration::from_secs(29)));
    assert_eq!(breaker.admit(at(35)), Admission::Probe);
    breaker.begin(at(35), LEASE);
    breaker.give_back();
    assert_eq!(breaker.admit(at(35)), Admission::Probe);
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
    let (mut breaker, mut now) = (opened(), at(0));
    for expected in [5_u64, 10, 20, 40, 80, 160, 320, 600, 600] {
        assert_eq!(breaker.admit(now), Admission::Wait(Duration::from_secs(expected)));
        now += TimeDelta::seconds(i64::try_from(expected).unwrap());
        breaker.begin(now, LEASE);
        assert_eq!(
            breaker.record(Outcome::Fails, Recent::default(), now, &POLICY),
            Change::Opened
        );
    }
}

#[test]
fn what_piled_up_goes_out_slowly_first_and_then_freely() {
    let mut breaker = opened();
    breaker.begin(at(5), LEASE);
    assert_eq!(
        breaker.record(Outcome::Works, Recent::default(), at(5), &POLICY),
        Change::Recovering
    );
    assert_eq!(breaker.admit(at(5)), Admission::Go);
    let mut millis = 5000;
    for gap in [1000_i64, 500, 250, 125, 62] {
        breaker.begin(after(millis), LEASE);
        assert!(
            matches!(breaker.admit(after(millis + gap - 1)), Admission::Wait(_)),
            "{gap}"
        );
        assert_eq!(breaker.admit(after(millis + gap + 1)), Admission::Go, "{gap}");
        millis += gap + 1;
        breaker.record(Outcome::Works, Recent::default(), after(millis), &POLICY);
    }
    assert_eq!(breaker, Breaker::default());
}

#[test]
fn one_failure_while_it_recovers_slows_it_down_and_two_in_a_row_open_it_for_longer() {
    let mut breaker = opened();
    breaker.begin(at(5), LEASE);
    let mut answer = |outcome, secs| breaker.record(outcome, Recent::default(), at(secs), &POLICY);
    assert_eq!(answer(Outcome::Works, 5), Change::Recovering);
    assert_eq!(answer(Outcome::Works, 6), Change::None);
    assert_eq!(answer(Outcome::Fails, 7), Change::None);
    assert_eq!(answer(Outcome::Works, 8), Change::None);
    assert_eq!(answer(Outcome::Fails, 9), Change::None);
    assert_eq!(answer(Outcome::Fails, 10), Change::Opened);
    assert_eq!(breaker.admit(at(10)), Admission::Wait(POLICY.first_pause * 2));
}

#[test]
fn calls_under_way_when_it_opened_neither_close_it_nor_prolong_it() {
    let mut breaker = opened();
    let before = breaker.clone();
    for outcome in [Outcome::Works, Outcome::Fails, Outcome::Down] {
        breaker.record(outcome, Recent::default(), at(1), &POLICY);
        assert_eq!(breaker, before);
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Call,
    Answer(Outcome),
    Pass(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Call),
        prop_oneof![Just(Outcome::Works), Just(Outcome::Fails), Just(Outcome::Down)].prop_map(Act::Answer),
        (0_u32..700_000).prop_map(Act::Pass),
    ]
}

proptest! {
    /// Whatever happens: it never waits longer than the longest pause or a probe's lease, and it lets nobody call while
    /// a probe is under way.
    #[test]
    fn waits_are_bounded_and_probes_are_alone(acts in proptest::collection::vec(act(), 0..200)) {
        let (mut breaker, mut now) = (Breaker::default(), at(0));
        let longest = POLICY.longest_pause.max(LEASE);
        for act in acts {
            match act {
                Act::Pass(millis) => now += TimeDelta::milliseconds(i64::from(millis)),
                Act::Answer(outcome) => {
                    breaker.record(outcome, Recent::default(), now, &POLICY);
                }
                Act::Call => match breaker.admit(now) {
                    Admission::Wait(wait) => prop_assert!(wait <= longest, "{wait:?}"),
                    Admission::Probe => {
                        breaker.begin(now, LEASE);
                        prop_assert!(matches!(breaker.admit(now), Admission::Wait(_)));
                    }
                    Admission::Go => breaker.begin(now, LEASE),
                },
            }
            prop_assert!(breaker.word(now).is_none() || !breaker.is_calm());
        }
    }
}

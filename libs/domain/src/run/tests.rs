use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    max_attempts: 3,
    first_pause: Duration::from_secs(10),
    longest_pause: Duration::from_secs(600),
};

fn fresh() -> Run {
    Run {
        state: State::Queued,
        attempt: 0,
        failures: 0,
        lost_leases: 0,
        hand_backs: 0,
        postponed: 0,
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Lease),
        Just(Command::Succeed),
        Just(Command::Fail),
        Just(Command::RetryLater(Duration::from_secs(60))),
        Just(Command::Wait(Duration::from_secs(60))),
        Just(Command::CannotDo),
        Just(Command::HandOver),
        Just(Command::HandBack),
        Just(Command::PutOff(Duration::from_secs(15))),
        Just(Command::LeaseExpired),
        Just(Command::WakeUp),
        Just(Command::Cancel),
    ]
}

#[test]
fn the_third_failure_parks_and_the_pause_doubles() {
    let mut run = fresh();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        run = apply(&run, &Command::Lease, &POLICY).unwrap().run;
        let step = apply(&run, &Command::Fail, &POLICY).unwrap();
        pauses.push(step.pause.as_secs());
        run = step.run;
    }
    assert_eq!(run.state, State::Parked);
    assert_eq!(pauses, [10, 20, 40]);
}

#[test]
fn a_dead_executor_uses_up_no_attempt() {
    let leased = apply(&fresh(), &Command::Lease, &POLICY).unwrap().run;
    let step = apply(&leased, &Command::LeaseExpired, &POLICY).unwrap();
    assert_eq!((step.run.state, step.run.failures), (State::Queued, 0));
}

#[test]
fn a_run_nobody_can_begin_pauses_longer_each_time_and_is_parked() {
    let mut run = fresh();
    let mut pauses = Vec::new();
    while run.state != State::Parked {
        run = apply(&run, &Command::Lease, &POLICY).unwrap().run;
        let step = apply(&run, &Command::HandBack, &POLICY).unwrap();
        pauses.push(step.pause.as_secs());
        run = step.run;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(run.failures, 0, "it is not the agent's failure");
    let again = apply(&run, &Command::OperatorRetry, &POLICY).unwrap().run;
    assert_eq!((again.state, again.hand_backs), (State::Queued, 0));
}

#[test]
fn being_put_off_uses_up_no_attempt_waits_longer_each_time_and_comes_to_an_end() {
    let (mut run, mut waited) = (fresh(), Duration::ZERO);
    let asked = Duration::from_secs(60);
    let mut pauses = Vec::new();
    while run.state != State::Parked {
        run = apply(&run, &Command::Lease, &POLICY).unwrap().run;
        let step = apply(&run, &Command::RetryLater(asked), &POLICY).unwrap();
        waited += step.pause;
        pauses.push(step.pause.as_secs());
        run = step.run;
    }
    assert_eq!(pauses[..8], [60, 60, 60, 80, 160, 320, 640, 900]);
    assert!(
        waited > Duration::from_secs(20 * 3600),
        "an outage of a day is outlived: {waited:?}"
    );
    assert_eq!((run.failures, run.postponed), (0, MAX_POSTPONEMENTS));
    let again = apply(&run, &Command::OperatorRetry, &POLICY).unwrap().run;
    assert_eq!((again.state, again.postponed), (State::Queued, 0));
}

#[test]
fn a_hand_over_and_an_outage_cost_a_run_nothing() {
    let leased = apply(&fresh(), &Command::Lease, &POLICY).unwrap().run;
    let pause = Duration::from_secs(15);
    for (command, expected) in [(Command::HandOver, Duration::ZERO), (Command::PutOff(pause), pause)] {
        let step = apply(&leased, &command, &POLICY).unwrap();
        assert_eq!(
            (step.run.failures, step.run.hand_backs, step.run.lost_leases),
            (0, 0, 0)
        );
        assert_eq!((step.run.state, step.pause), (State::Queued, expected), "{command:?}");
    }
}

proptest! {
    #[test]
    fn without_a_human_every_run_comes_to_rest(commands in proptest::collection::vec(any_command(), 0..400)) {
        let mut run = fresh();
        let (mut leases, mut waits, mut free) = (0, 0, 0);
        for command in &commands {
            if let Ok(step) = apply(&run, command, &POLICY) {
                prop_assert!(!run.state.is_closed(), "a closed run moved");
                match command {
                    Command::Lease => leases += 1,
                    Command::Wait(_) => waits += 1,
                    Command::HandOver | Command::PutOff(_) => free += 1,
                    _ => {}
                }
                run = step.run;
            }
        }
        prop_assert!(leases <= POLICY.max_attempts + MAX_LOST_LEASES + MAX_HAND_BACKS + MAX_POSTPONEMENTS + 2 + waits + free);
        prop_assert!(run.failures <= POLICY.max_attempts);
    }

    #[test]
    fn an_attempt_is_completed_at_most_once(commands in proptest::collection::vec(any_command(), 0..200)) {
        let mut run = fresh();
        let mut succeeded = 0;
        for command in &commands {
            if let Ok(step) = apply(&run, command, &POLICY) {
                succeeded += usize::from(*command == Command::Succeed);
                run = step.run;
            }
        }
        prop_assert!(succeeded <= 1);
    }
}

//! What is answered, and what never is.

use proptest::prelude::*;

use super::*;

fn contract(state: State, money: bool) -> Contract {
    let mut contract = Contract::new();
    contract.state = state;
    contract.funding_confirmed = money;
    contract
}

#[test]
fn messages_are_told_apart_by_their_words() {
    for (text, class) in [
        (
            "Thank you, your message arrived and is taken into account.",
            Class::Acknowledgement,
        ),
        ("Thanks!", Class::Acknowledgement),
        ("ok, got it", Class::Acknowledgement),
        ("👍", Class::Acknowledgement),
        ("Great work, thank you very much", Class::Acknowledgement),
        ("When will it be ready?", Class::Question),
        ("could you tell me the format", Class::Question),
        ("Thanks! Which colour is it?", Class::Question),
        ("Please change the title to blue.", Class::ChangeRequest),
        ("The second page is missing", Class::ChangeRequest),
        ("Can you fix the last row?", Class::ChangeRequest),
        ("Here is the sample file.", Class::Other),
        ("Thanks, the data has three columns", Class::Other),
        ("", Class::Other),
        ("   ", Class::Other),
    ] {
        assert_eq!(classify(text), class, "{text:?}");
    }
}

#[test]
fn our_own_acknowledgement_is_known_as_one() {
    // Whoever runs the same program must not be answered by it.
    let ours = "Thank you, your message arrived and is taken into account.";
    assert_eq!(classify(ours), Class::Acknowledgement);
}

#[test]
fn a_client_who_wants_changes_after_delivery_reaches_a_human() {
    let delivered = contract(State::Delivered, true);
    let heard = |wanted| Heard {
        wanted,
        from_agent: false,
        class: Class::ChangeRequest,
        contract: &delivered,
        ours_lately: 0,
        ours_today: 0,
    };
    assert_eq!(decide(&heard(Reply::Off)), (Answer::Nothing, Some(HandOver::Change)));
    assert_eq!(
        decide(&heard(Reply::Ack)),
        (Answer::Acknowledge, Some(HandOver::Change))
    );
    assert_eq!(decide(&heard(Reply::Agent)), (Answer::Nothing, Some(HandOver::Change)));
}

fn states() -> impl Strategy<Value = State> {
    proptest::sample::select(vec![
        State::Accepted,
        State::Funded,
        State::Delivered,
        State::RevisionRequested,
        State::Disputed,
        State::Approved,
        State::Cancelled,
        State::Unknown("sparkling".to_owned()),
    ])
}

fn classes() -> impl Strategy<Value = Class> {
    let all = vec![
        Class::Acknowledgement,
        Class::Question,
        Class::ChangeRequest,
        Class::Other,
    ];
    proptest::sample::select(all)
}

fn replies() -> impl Strategy<Value = Reply> {
    proptest::sample::select(vec![Reply::Off, Reply::Ack, Reply::Agent])
}

proptest! {
    #[test]
    fn whatever_comes_the_bounds_hold(
        state in states(), money: bool, wanted in replies(), from_agent: bool, class in classes(),
        ours_lately in 0..30_i64, more in 0..30_i64,
    ) {
        let contract = contract(state.clone(), money);
        let ours_today = ours_lately + more;
        let heard = Heard { wanted, from_agent, class, contract: &contract, ours_lately, ours_today };
        let (answer, told) = decide(&heard);
        if answer != Answer::Nothing {
            prop_assert!(ours_today < MOST_A_DAY);
            prop_assert!(class != Class::Acknowledgement, "a bare acknowledgement is not answered");
            prop_assert!(!state.is_final() && state != State::Disputed, "a human answers in a dispute");
            prop_assert!(wanted != Reply::Off);
        }
        if answer == Answer::Acknowledge {
            prop_assert!(!from_agent && ours_lately == 0);
        }
        if answer == Answer::AskAgent {
            prop_assert!(contract.may_answer(), "an agent is asked only with money to ask it");
        }
        if told == Some(HandOver::Bound) {
            prop_assert!(ours_today >= MOST_A_DAY && answer == Answer::Nothing);
        }
    }

    #[test]
    fn no_text_breaks_the_guess(text in any::<String>()) {
        let _ = classify(&text);
    }

    #[test]
    fn two_machines_end_however_they_word_it(class in classes(), wanted in replies()) {
        // Each answer of ours is answered at once by another agent.
        let contract = contract(State::Funded, true);
        let mut ours = 0;
        for _ in 0..1_000 {
            let heard = Heard { wanted, from_agent: true, class, contract: &contract, ours_lately: ours, ours_today: ours };
            if decide(&heard).0 == Answer::Nothing {
                break;
            }
            ours += 1;
        }
        prop_assert!(ours <= MOST_A_DAY);
    }
}

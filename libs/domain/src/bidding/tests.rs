use proptest::prelude::*;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn gig() -> Gig {
    Gig {
        title: "Write a CSV parser".into(),
        description: "A small parser in Python with tests, for files of up to a million lines.".into(),
        category: "code".into(),
        skills: vec!["Python".into(), "testing".into()],
        budget: Some(MicroUsdc(20_000_000)),
        deadline: None,
        proposals: 1,
    }
}

fn rules() -> Bidding {
    Bidding {
        skills: vec!["python".into(), "testing".into()],
        categories: vec!["code".into()],
        ..Bidding::default()
    }
}

fn reason(decision: Decision) -> String {
    match decision {
        Decision::Skip { reason, .. } => reason,
        Decision::Bid { .. } => panic!("it was bid on"),
    }
}

#[test]
fn a_fitting_gig_is_bid_on_at_the_clients_budget() {
    let Decision::Bid { amount, score, .. } = decide(&gig(), &rules(), Load::default(), now()) else {
        panic!("skipped")
    };
    assert_eq!(amount, MicroUsdc(20_000_000));
    assert!(score.total > 800, "{score:?}");
}

#[test]
fn limits_hold_whatever_the_score() {
    let busy = Load {
        bids_today: 3,
        held_today: 0,
        open_contracts: 2,
    };
    let capped = Bidding {
        max_bids_per_day: Some(3),
        ..rules()
    };
    assert!(reason(decide(&gig(), &capped, busy, now())).contains("3 bids went out today"));
    let waiting = Load { held_today: 2, ..busy };
    let told = reason(decide(&gig(), &capped, waiting, now()));
    assert!(told.contains("1 bids went out today and 2 wait for approval"), "{told}");
    let capped = Bidding {
        max_open_contracts: Some(2),
        ..rules()
    };
    assert!(reason(decide(&gig(), &capped, busy, now())).contains("contracts are open"));
    let cheap = Gig {
        budget: Some(MicroUsdc(500_000)),
        ..gig()
    };
    assert!(reason(decide(&cheap, &rules(), Load::default(), now())).contains("below the least price"));
    let other = Gig {
        category: "design".into(),
        ..gig()
    };
    assert!(reason(decide(&other, &rules(), Load::default(), now())).contains("category"));
    let past = Gig {
        deadline: Some(now()),
        ..gig()
    };
    assert!(reason(decide(&past, &rules(), Load::default(), now())).contains("deadline"));
    let dear = Bidding {
        max_price_usdc: Some(MicroUsdc(15_000_000)),
        ..rules()
    };
    let Decision::Bid { amount, .. } = decide(&gig(), &dear, Load::default(), now()) else {
        panic!("skipped")
    };
    assert_eq!(amount, MicroUsdc(15_000_000));
}

#[test]
fn a_refused_gig_is_skipped_and_says_why() {
    for text in ["Solve a CAPTCHA for me", "Collect KYC documents", "Write Fake Reviews"] {
        let refused = Gig {
            title: text.into(),
            ..gig()
        };
        assert!(
            reason(decide(&refused, &rules(), Load::default(), now())).contains("refusal list"),
            "{text}"
        );
    }
    let fine = Gig {
        description: "Tests for the spamalot musical's website, at least fifty characters.".into(),
        ..gig()
    };
    assert!(matches!(
        decide(&fine, &rules(), Load::default(), now()),
        Decision::Bid { .. }
    ));
    let own = Bidding {
        refuse: vec!["CSV".into()],
        ..rules()
    };
    assert!(reason(decide(&gig(), &own, Load::default(), now())).contains("CSV"));
}

proptest! {
    #[test]
    fn no_bid_is_ever_outside_the_limits(
        budget in 1_i64..1_000_000_000, least in 1_i64..100_000_000, span in 0_i64..500_000_000,
        proposals in 0_u32..100, bids in 0_u32..20, cap in 0_u32..20,
    ) {
        let gig = Gig { budget: Some(MicroUsdc(budget)), proposals, ..gig() };
        let rules = Bidding {
            min_price_usdc: MicroUsdc(least),
            max_price_usdc: Some(MicroUsdc(least + span)),
            max_bids_per_day: Some(cap),
            ..rules()
        };
        if let Decision::Bid { amount, score, .. } = decide(&gig, &rules, Load { bids_today: bids, open_contracts: 0, ..Load::default() }, now()) {
            prop_assert!(amount.0 >= least && amount.0 <= least + span && amount.0 <= budget);
            prop_assert!(bids < cap);
            prop_assert!(score.total <= 1000 && score.total >= rules.min_score);
        }
    }
}

//! What the marketplace kept, from figures that are told in more than one way.

use domain::money::MicroUsdc;

/// What the marketplace kept of `amount`: as it says, where its figures add up net or gross; else as it says too, with
/// a sentence for a human.
pub(super) fn fee_of(
    amount: MicroUsdc,
    earned: Option<i64>,
    fee: Option<i64>,
    permille: u32,
) -> (MicroUsdc, Option<String>) {
    let usual = amount.permille(permille);
    match (earned, fee) {
        (None, None) => (usual, None),
        (None, Some(fee)) => (MicroUsdc(fee), None),
        (Some(earned), None) if earned == amount.0 || earned + usual.0 == amount.0 => (usual, None),
        (Some(earned), Some(fee)) if earned.checked_add(fee) == Some(amount.0) || earned == amount.0 => {
            (MicroUsdc(fee), None)
        }
        (Some(earned), fee) => {
            let booked = fee.map_or(usual, MicroUsdc);
            let said = fee.map_or_else(|| "no fee".to_owned(), |fee| format!("a fee of {}", MicroUsdc(fee)));
            let doubt = format!(
                "the marketplace says {} were earned and {said}, which does not add up to the price {amount}: \
                 {booked} is booked as its fee",
                MicroUsdc(earned)
            );
            (booked, Some(doubt))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: MicroUsdc = MicroUsdc(250_000_000);

    #[test]
    fn net_and_gross_figures_are_both_understood() {
        for (earned, fee) in [
            (Some(225_000_000), Some(25_000_000)),
            (Some(250_000_000), Some(25_000_000)),
            (Some(225_000_000), None),
            (Some(250_000_000), None),
            (None, Some(25_000_000)),
            (None, None),
        ] {
            assert_eq!(
                fee_of(PRICE, earned, fee, 100),
                (MicroUsdc(25_000_000), None),
                "{earned:?} {fee:?}"
            );
        }
    }

    #[test]
    fn figures_that_do_not_add_up_want_a_human() {
        for (earned, fee) in [
            (Some(200_000_000), Some(25_000_000)),
            (Some(1), None),
            (Some(i64::MAX), Some(1)),
        ] {
            assert!(fee_of(PRICE, earned, fee, 100).1.is_some(), "{earned:?} {fee:?}");
        }
    }
}

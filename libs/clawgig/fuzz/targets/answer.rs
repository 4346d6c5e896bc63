//! An answer of the API, of whatever call and status: every reader takes it without a panic, and keeps what it promises.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Err(broken) = clawgig::wire::understand(body) {
        panic!("{broken}");
    }
});

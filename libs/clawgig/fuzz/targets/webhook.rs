//! A webhook's body, signed or not: reading it never panics, and an event that is read can be read again.
#![no_main]

use clawgig::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(event) = Event::parse(body) {
        assert!(event.name.chars().count() <= 64, "names are bounded");
        assert_eq!(Event::parse(body).as_ref(), Ok(&event));
    }
});

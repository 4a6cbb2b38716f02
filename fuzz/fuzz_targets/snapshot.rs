#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kvpaxos_fuzz::run(
    kvpaxos_fuzz::targets::snapshot,
    input
));

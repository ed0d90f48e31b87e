//! What keys cannot do, as the compiler sees it.

#[test]
fn keys_are_not_copied_compared_or_serialized() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}

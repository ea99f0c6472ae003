//! The portreeve command.
fn main() {}

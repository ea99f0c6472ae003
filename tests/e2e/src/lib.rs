//! End-to-end tests: the Linux kernel as a guest.

//! Simulated link, guest and host for testing the engine.

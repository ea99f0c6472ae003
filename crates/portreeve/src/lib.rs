//! A user-space network engine for microVMs, namespaces and sandboxes.

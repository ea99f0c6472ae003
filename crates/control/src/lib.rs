//! The control API of a running engine: HTTP/1.1 and JSON over a Unix socket.

#![forbid(unsafe_code)]

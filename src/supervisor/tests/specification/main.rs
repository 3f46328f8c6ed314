//! Specifications: one rule a test, in the words of systemd's manual pages.

mod guest;

mod dependencies;
mod messages;
mod requests;
mod restarting;
mod services;
mod shutdown;
mod sockets;
mod starting;
mod stopping;
mod table;
#[path = "../words/mod.rs"]
mod words;

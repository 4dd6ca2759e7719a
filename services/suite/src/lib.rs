//! The suite in one process, and its command line.

pub mod clients;
pub mod command;
pub mod demo;
pub mod import;
pub mod region;
pub mod report;
pub mod settle;
pub mod suite;
pub mod verify;

//! The service over real sockets, behind a stand-in for intake, on every database that can be had here.

mod correcting;
mod following;
mod house;
mod intake;
mod reading;

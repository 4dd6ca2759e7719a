//! What intake decides: is it new, a repeat, an edit, withdrawn, our own. Pure: no transport, no storage, no clock.

pub mod keys;
pub mod pack;
pub mod source;
pub mod standing;
pub mod submission;

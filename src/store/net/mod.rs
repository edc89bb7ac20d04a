//! The only room that calls out: HTTP, the hub's listings, downloads that can be continued, and packages.

pub(super) mod fetch;
pub(super) mod http;
pub(super) mod hub;
pub(super) mod journal;
pub(super) mod package;
pub(super) mod probe;
pub(super) mod remote;

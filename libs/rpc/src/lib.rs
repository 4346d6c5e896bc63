//! Glue over the gRPC contracts in `proto/`.
//!
//! Holds the generated messages, the one way to open a channel (all addresses of a name, looked up again), the one way
//! to authenticate a caller, and the mapping from one small error code to gRPC status and HTTP problem document.
//! It decides nothing about contracts, runs or money.

pub mod auth;
pub mod channel;
pub mod convert;
pub mod endpoint;
pub mod error;
pub mod server;

/// Messages, clients and servers generated from `proto/steward/v1`.
pub mod v1 {
    #![expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("steward.v1");
}

/// Descriptors of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

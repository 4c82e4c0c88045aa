//! Workspace tests: one binary, so that two cores link once.
mod ablate;
mod arms;
mod bad_input;
mod cli;
mod dashboard;
mod doctor;
mod fixture_model;
mod parity;
mod prepare;
mod recipes;
mod resume;
mod speculate;
mod sweep;
mod teacher;
mod teacher_cache;

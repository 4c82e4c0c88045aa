//! Workspace tests: one binary, so that two cores link once.
mod cli;
mod dashboard;
mod recipes;
mod resume;
mod sweep;
mod teacher;

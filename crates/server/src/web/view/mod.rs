//! What pages show: display-ready structs, made by plain functions from what the store and the domain say.
//! No I/O and no clock.

pub mod action;
pub mod assets;
pub mod chart;
pub mod chip;
pub mod compare;
pub mod door;
pub mod endpoints;
pub mod event;
pub mod events;
pub mod field;
pub mod flow;
pub mod format;
pub mod overview;
pub mod preview;
pub mod problem;
pub mod shell;
pub mod table_wish;
pub mod tables;
pub mod task;
pub mod task_form;
pub mod task_row;
pub mod task_settings;
pub mod tasks;
pub mod when;
pub mod workers;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

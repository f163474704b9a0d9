-- Its VM stands still, as its bait has said last.
alter table vwn add column paused integer not null default 0 check (paused in (0, 1));

"""The audit trail: who did what to which record, written in the transaction that did it. It is also the work queue."""

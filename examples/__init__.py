"""Workflow patterns to read, run and copy from: `engine dev examples.purchase_order:app` needs no Kafka."""

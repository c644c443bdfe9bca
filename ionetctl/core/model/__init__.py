"""The frozen records that flow from inventory to outcome. No I/O, no parsing, no defaults that hide a decision."""

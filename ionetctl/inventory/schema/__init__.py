"""What an inventory may hold: fields, their types, and the JSON Schema made from them."""

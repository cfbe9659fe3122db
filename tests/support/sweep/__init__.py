"""What walks every route of every service: the routes themselves, a recipe for each, and the people who try them."""

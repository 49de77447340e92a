"""The demo: the template on a local AWS, and the incidents replayed there."""

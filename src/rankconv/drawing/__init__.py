"""What all reports share: colours, the wording of numbers, axes and the dress of the page."""

"""A simulated hospital: images, reports and senders with a known truth; never clinical."""

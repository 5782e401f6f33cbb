"""Adversarial hospitals: messages and studies with faults, and the truth about every pair.

The truth comes from what the generator did, never from the rules of the product.
"""

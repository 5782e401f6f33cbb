"""The demonstration: the whole loop on a simulated hospital, in front of the user's eyes.

The node is started and asked as a user would do it, by its command line; images and messages
travel through its sockets. Everything is simulated and says so.
"""

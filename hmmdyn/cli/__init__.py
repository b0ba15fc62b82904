"""The command line: arguments, progress, exit codes; no method inside.

Every command imports the stage it runs when it runs: showing help costs none of them.
"""

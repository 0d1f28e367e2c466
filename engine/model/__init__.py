"""The nouns: ids, commands, actions, events, effects and state, as plain values. Nothing here acts."""

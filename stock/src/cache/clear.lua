-- Begins a new generation and tells everybody. KEYS: the generation. ARGV: channel, message.
local generation = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return generation

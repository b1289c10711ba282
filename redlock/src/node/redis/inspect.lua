-- Tells value and remaining milliseconds of every key; a value of false means that it is free.
-- KEYS: the lock keys.
local states = {}
for _, key in ipairs(KEYS) do
  states[#states + 1] = redis.call('GET', key)
  states[#states + 1] = redis.call('PTTL', key)
end
return states

-- Deletes the key if it holds the value, and tells whoever listens on its channel.
-- KEYS: the lock key. ARGV: value.
-- Answers 1, or 0 where the key does not hold the value.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
-- pcall: a user without permission for the channel may still release.
redis.pcall('PUBLISH', 'redlock:released:' .. KEYS[1], '1')
return 1

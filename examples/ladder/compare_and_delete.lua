-- Deletes the key if it still holds the owner's value.
-- KEYS: the lock key. ARGV: value.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0

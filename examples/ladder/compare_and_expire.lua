-- Lets the key live for another ttl if it still holds the owner's value.
-- KEYS: the lock key. ARGV: value, ttl in milliseconds.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0

-- Lets every key live at least the ttl from now, where all of them hold the claim's value.
-- KEYS: the lock keys. ARGV: value, ttl in milliseconds.
-- Answers 1, or 0 where a key does not hold the value.
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) ~= ARGV[1] then
    return 0
  end
end
for _, key in ipairs(KEYS) do
  -- A renewal with a shorter ttl must not cut a longer lease.
  if redis.call('PTTL', key) < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
return 1

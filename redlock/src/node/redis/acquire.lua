-- Sets every key to the claim's value, or none of them.
-- KEYS: the lock keys. ARGV: value, ttl in milliseconds.
-- Answers OK, or how many milliseconds the first key in the way has to live (-1: for ever).
for i, key in ipairs(KEYS) do
  if not redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then
    for j = 1, i - 1 do
      redis.call('DEL', KEYS[j])
    end
    if redis.call('TYPE', key).ok ~= 'string' then
      return redis.error_reply('WRONGTYPE the key holds no lock but a ' .. redis.call('TYPE', key).ok)
    end
    return redis.call('PTTL', key)
  end
end
return redis.status_reply('OK')

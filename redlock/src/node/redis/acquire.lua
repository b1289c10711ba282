-- Sets every key to the claim's value, or none of them, and moves their counters to one token.
-- KEYS: the lock keys, then their fencing counters.
-- ARGV: value, ttl in milliseconds, proposed token, milliseconds a counter lives.
-- Answers the token as a string, or as an integer how many milliseconds the first key in the way
-- has to live (-1: for ever).
local n = #KEYS / 2
local function undo(count)
  for i = 1, count do
    redis.call('DEL', KEYS[i])
  end
end
for i = 1, n do
  if not redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2]) then
    undo(i - 1)
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'string' then
      return redis.error_reply('WRONGTYPE the key holds no lock but a ' .. kind)
    end
    return redis.call('PTTL', KEYS[i])
  end
end
local token = tonumber(ARGV[3])
for i = n + 1, 2 * n do
  local stored = redis.pcall('GET', KEYS[i])
  if stored then
    local counter = type(stored) == 'string' and string.match(stored, '^%d+$') and tonumber(stored)
    -- Doubles are exact up to 2^53 - 1, the largest token.
    if not counter or counter >= 9007199254740991 then
      undo(n)
      return redis.error_reply('BADCOUNTER ' .. KEYS[i] .. ' holds no token below 2^53 - 1')
    end
    if counter >= token then
      token = counter + 1
    end
  end
end
local text = string.format('%.0f', token)
for i = n + 1, 2 * n do
  redis.call('SET', KEYS[i], text, 'PX', ARGV[4])
end
return text
